/*
 * The zip archives that PyTorch writes: members are stored, not compressed. Private to torch.c.
 */
#ifndef ATELIER_COMMON_TORCH_ZIP_H
#define ATELIER_COMMON_TORCH_ZIP_H

#include <stddef.h>
#include <stdint.h>

struct zip_member {
    const char *name; /* not terminated */
    size_t name_length;
    uint64_t size, header; /* bytes; place of its local header */
    uint32_t crc;
    uint16_t method;
};

struct zip {
    const unsigned char *base;
    size_t size;
    struct zip_member *list; /* sorted by name */
    size_t count;
};

/* Reads the directory of an archive in memory (zip64 too). 0 or -1; free z->list. */
int zip_open(struct zip *z, const void *base, size_t size);
/* The bytes of a stored member, whose checksum is right: 1, 0 when there is none of this name, -1. */
int zip_find(const struct zip *z, const char *name, const unsigned char **data, size_t *size);

#endif
