/*
 * Files of named tensors: safetensors read and written; PyTorch's containers (zip and legacy pickles of modules and
 * state dicts, TorchScript archives) read, never executed (torch.c understands only the opcodes that build tensors).
 */
#ifndef ATELIER_COMMON_WEIGHTS_H
#define ATELIER_COMMON_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

enum weight_type {
    WEIGHT_F32,
    WEIGHT_F16,
    WEIGHT_BF16,
    WEIGHT_F64,
    WEIGHT_U8,
    WEIGHT_I8,
    WEIGHT_I16,
    WEIGHT_I32,
    WEIGHT_I64
};

struct weight {
    char *name;
    enum weight_type type;
    int ndim;
    int64_t shape[8];
    size_t count;     /* product of the shape; 1 for a scalar */
    const void *data; /* little-endian, contiguous, row-major; not necessarily aligned */
};

struct weights; /* immutable once loaded */

/* Opens any of the formats, told apart by content. Every size and offset is checked. 0 or -1. */
int weights_load(struct weights **w, const char *path);
void weights_free(struct weights **w);

size_t weights_count(const struct weights *w);
const struct weight *weights_at(const struct weights *w, size_t i); /* sorted by name */
const struct weight *weights_find(const struct weights *w, const char *name);
const char *weights_meta(const struct weights *w, const char *key); /* NULL: none */

/* Converts all elements to float (exact for F16 and BF16). */
void weight_to_floats(const struct weight *w, float *out);

/* Writing: tensors are given as views that stay the caller's; the file is written beside, synced and renamed. `meta` is
 * key, value, key, value ..., NULL. 0 or -1. */
int weights_save(const char *path, const struct weight *tensors, size_t count, const char *const *meta);

#endif
