/*
 * What the readers of weight files share: the file's bytes and the table that they fill. Private to weights.c,
 * safetensors.c and torch*.c, and to the fuzzers.
 */
#ifndef ATELIER_COMMON_WEIGHTS_FILE_H
#define ATELIER_COMMON_WEIGHTS_FILE_H

#include "common/weights.h"
#include <stdbool.h>

#define WEIGHT_MAX_DIMS 8

struct weights {
    const unsigned char *base; /* the whole file; tensors point into it */
    size_t size;
    bool mapped; /* by weights_load: unmapped with it */
    struct weight *list;
    size_t count, cap;
    char **meta; /* key, value, key, value ... */
    size_t meta_count;
    void **copies; /* tensors that had to be laid out anew */
    size_t copies_count, copies_bytes;
};

/* Reads any format from bytes that outlive `w`. 0 or -1; weights_free in both cases. */
int weights_parse(struct weights **w, const void *data, size_t size);

/* Each reads w->base and adds what it finds. 0 or -1. */
int safetensors_read(struct weights *w);
int torch_read_zip(struct weights *w);
int torch_read_legacy(struct weights *w);

size_t weight_type_size(enum weight_type type); /* bytes of an element */

/* Number of elements. -1 (ERR_DATA) for a negative size or when count x element size overflows. */
int weight_shape_count(const int64_t *shape, int ndim, enum weight_type type, size_t *count);

/* Adds a tensor whose data (count x element size bytes) the caller has checked to be there. */
void weights_add(struct weights *w, const struct weight *tensor);

#endif
