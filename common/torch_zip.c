/*
 * A zip archive's directory, read from its end (torch_zip.h). Every place and size is checked against the file.
 */
#include "common/torch_zip.h"
#include "common/err.h"
#include "common/mem.h"
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { LOCAL = 0x04034b50, MEMBER = 0x02014b50, END = 0x06054b50, END64 = 0x06064b50, LOCATOR64 = 0x07064b50 };
enum { LOCAL_BYTES = 30, MEMBER_BYTES = 46, END_BYTES = 22, END64_BYTES = 56, LOCATOR64_BYTES = 20 };

static uint16_t u16(const unsigned char *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint32_t u32(const unsigned char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint64_t u64(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static int damaged(const char *what)
{
    return err_set(ERR_DATA, "damaged or cut zip archive: %s", what);
}

/* The last end record, behind which a comment of at most 64 KB may stand. */
static const unsigned char *find_end(const struct zip *z)
{
    if (z->size < END_BYTES)
        return NULL;
    const unsigned char *p = z->base + z->size - END_BYTES;
    const unsigned char *low = z->size > END_BYTES + 65535 ? p - 65535 : z->base;
    for (; p >= low; p--) {
        if (u32(p) == END && u16(p + 20) == z->base + z->size - p - END_BYTES)
            return p;
    }
    return NULL;
}

/* Where the directory is, how long, and how many members it has. */
static int locate(const struct zip *z, uint64_t *place, uint64_t *bytes, uint64_t *count)
{
    const unsigned char *end = find_end(z);
    if (!end)
        return damaged("its end record is missing");
    *count = u16(end + 10);
    *bytes = u32(end + 12);
    *place = u32(end + 16);
    if (*count == UINT16_MAX || *bytes == UINT32_MAX || *place == UINT32_MAX) {
        size_t at = (size_t)(end - z->base);
        if (at < LOCATOR64_BYTES || u32(end - LOCATOR64_BYTES) != LOCATOR64)
            return damaged("its zip64 locator is missing");
        uint64_t end64 = u64(end - LOCATOR64_BYTES + 8);
        if (at < END64_BYTES || end64 > at - END64_BYTES || u32(z->base + end64) != END64)
            return damaged("its zip64 end record is missing");
        *count = u64(z->base + end64 + 32);
        *bytes = u64(z->base + end64 + 40);
        *place = u64(z->base + end64 + 48);
    }
    if (*place > z->size || *bytes > z->size - *place || *count > *bytes / MEMBER_BYTES)
        return damaged("its directory lies outside the file");
    return 0;
}

/* The zip64 extra field holds, in this order, those of size, packed size and header that did not fit. */
static int read_extra(const unsigned char *extra, size_t length, uint64_t *packed, struct zip_member *m)
{
    uint64_t *wide[3] = {&m->size, packed, &m->header};
    while (length >= 4) {
        size_t bytes = u16(extra + 2);
        if (bytes > length - 4)
            break;
        if (u16(extra) == 1) {
            const unsigned char *p = extra + 4;
            for (int i = 0; i < 3; i++) {
                if (*wide[i] != UINT32_MAX)
                    continue;
                if (bytes < 8)
                    return damaged("a zip64 field is short");
                *wide[i] = u64(p);
                p += 8;
                bytes -= 8;
            }
            return 0;
        }
        extra += 4 + bytes;
        length -= 4 + bytes;
    }
    return 0;
}

static int read_member(const unsigned char *p, size_t left, struct zip_member *m, size_t *used)
{
    if (left < MEMBER_BYTES || u32(p) != MEMBER)
        return damaged("its directory is not a list of members");
    size_t name = u16(p + 28), extra = u16(p + 30), comment = u16(p + 32);
    *used = MEMBER_BYTES + name + extra + comment;
    if (*used > left)
        return damaged("its directory is cut");
    uint64_t packed = u32(p + 20);
    m->method = u16(p + 10);
    m->crc = u32(p + 16);
    m->size = u32(p + 24);
    m->header = u32(p + 42);
    m->name = (const char *)p + MEMBER_BYTES;
    m->name_length = name;
    if (read_extra(p + MEMBER_BYTES + name, extra, &packed, m) < 0)
        return -1;
    return m->method == 0 && packed != m->size ? damaged("a stored member has two sizes") : 0;
}

static int by_name(const void *a, const void *b)
{
    const struct zip_member *x = a, *y = b;
    size_t common = x->name_length < y->name_length ? x->name_length : y->name_length;
    int order = memcmp(x->name, y->name, common);
    return order ? order : (x->name_length > y->name_length) - (x->name_length < y->name_length);
}

int zip_open(struct zip *z, const void *base, size_t size)
{
    uint64_t place = 0, bytes = 0, count = 0;
    *z = (struct zip){.base = base, .size = size};
    if (locate(z, &place, &bytes, &count) < 0)
        return -1;
    /* Checked by locate: a member of the list for each 46 bytes of the file at most. */
    z->list = xcalloc(count, sizeof *z->list);
    for (uint64_t at = 0; z->count < count; z->count++) {
        size_t used = 0;
        if (read_member(z->base + place + at, bytes - at, &z->list[z->count], &used) < 0) {
            free(z->list);
            z->list = NULL;
            return -1;
        }
        at += used;
    }
    qsort(z->list, z->count, sizeof *z->list, by_name);
    return 0;
}

int zip_find(const struct zip *z, const char *name, const unsigned char **data, size_t *size)
{
    struct zip_member key = {.name = name, .name_length = strlen(name)};
    const struct zip_member *m = bsearch(&key, z->list, z->count, sizeof *z->list, by_name);
    if (!m)
        return 0;
    if (m->method != 0)
        return err_set(ERR_DATA, "'%s' in the archive is compressed, which PyTorch never does", name);
    if (z->size < LOCAL_BYTES || m->header > z->size - LOCAL_BYTES || u32(z->base + m->header) != LOCAL)
        return damaged("a member is not where the directory says");
    const unsigned char *local = z->base + m->header;
    uint64_t start = m->header + LOCAL_BYTES + u16(local + 26) + u16(local + 28);
    if (start > z->size || m->size > z->size - start)
        return damaged("a member lies outside the file");
    *data = z->base + start;
    *size = m->size;
    if (crc32_z(0, *data, *size) != m->crc)
        return err_set(ERR_DATA, "'%s' in the archive is damaged: its checksum is wrong", name);
    return 1;
}
