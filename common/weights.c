/*
 * Files of named tensors: opening, look-up and conversion. The formats are in safetensors.c and torch.c. The file is
 * mapped, so that loading costs what is used of it.
 */
#include "common/err.h"
#include "common/mem.h"
#include "common/weights_file.h"
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

size_t weight_type_size(enum weight_type type)
{
    static const size_t sizes[] = {
        [WEIGHT_F32] = 4, [WEIGHT_F16] = 2, [WEIGHT_BF16] = 2, [WEIGHT_F64] = 8, [WEIGHT_U8] = 1,
        [WEIGHT_I8] = 1,  [WEIGHT_I16] = 2, [WEIGHT_I32] = 4,  [WEIGHT_I64] = 8,
    };
    return sizes[type];
}

int weight_shape_count(const int64_t *shape, int ndim, enum weight_type type, size_t *count)
{
    size_t n = 1, bytes;
    for (int i = 0; i < ndim; i++) {
        if (shape[i] < 0 || __builtin_mul_overflow(n, (size_t)shape[i], &n))
            return err_set(ERR_DATA, "impossible shape");
    }
    if (__builtin_mul_overflow(n, weight_type_size(type), &bytes))
        return err_set(ERR_DATA, "impossible shape");
    *count = n;
    return 0;
}

void weights_add(struct weights *w, const struct weight *tensor)
{
    if (w->count == w->cap) {
        w->cap = w->cap ? w->cap * 2 : 64;
        w->list = xrealloc(w->list, w->cap * sizeof *w->list);
    }
    w->list[w->count++] = *tensor;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct weight *)a)->name, ((const struct weight *)b)->name);
}

int weights_parse(struct weights **out, const void *data, size_t size)
{
    struct weights *w = *out = xcalloc(1, sizeof *w);
    w->base = data;
    w->size = size;
    int (*read)(struct weights *) = safetensors_read;
    if (size >= 4 && memcmp(data, "PK\3\4", 4) == 0)
        read = torch_read_zip;
    else if (size >= 1 && w->base[0] == 0x80 && (size <= 8 || w->base[8] != '{')) /* not a length that begins so */
        read = torch_read_legacy;
    if (read(w) < 0)
        return -1;
    if (w->count > 0)
        qsort(w->list, w->count, sizeof *w->list, by_name);
    for (size_t i = 1; i < w->count; i++) {
        if (strcmp(w->list[i - 1].name, w->list[i].name) == 0)
            return err_set(ERR_DATA, "two tensors are called '%s'", w->list[i].name);
    }
    return 0;
}

static void *map_file(const char *path, size_t *size)
{
    struct stat st;
    void *base = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        err_sys("%s", path);
    } else if (!S_ISREG(st.st_mode) || st.st_size == 0) {
        err_set(ERR_DATA, "%s: not a weights file (%s)", path, S_ISREG(st.st_mode) ? "empty" : "not a regular file");
    } else {
        *size = (size_t)st.st_size;
        base = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (base == MAP_FAILED) {
            base = NULL;
            err_sys("%s: cannot map it", path);
        }
    }
    if (fd >= 0)
        close(fd);
    return base;
}

int weights_load(struct weights **w, const char *path)
{
    size_t size;
    *w = NULL;
    void *base = map_file(path, &size);
    if (!base)
        return -1;
    int rc = weights_parse(w, base, size);
    (*w)->mapped = true;
    if (rc < 0) {
        err_wrap("%s", path);
        weights_free(w);
        return -1;
    }
    return 0;
}

void weights_free(struct weights **w)
{
    if (!*w)
        return;
    for (size_t i = 0; i < (*w)->count; i++)
        free((*w)->list[i].name);
    for (size_t i = 0; i < (*w)->meta_count; i++)
        free((*w)->meta[i]);
    for (size_t i = 0; i < (*w)->copies_count; i++)
        free((*w)->copies[i]);
    if ((*w)->mapped)
        munmap((void *)(*w)->base, (*w)->size);
    free((*w)->list);
    free((*w)->meta);
    free((*w)->copies);
    free(*w);
    *w = NULL;
}

size_t weights_count(const struct weights *w)
{
    return w->count;
}

const struct weight *weights_at(const struct weights *w, size_t i)
{
    return &w->list[i];
}

const struct weight *weights_find(const struct weights *w, const char *name)
{
    struct weight key = {.name = (char *)name};
    return w->count ? bsearch(&key, w->list, w->count, sizeof *w->list, by_name) : NULL;
}

const char *weights_meta(const struct weights *w, const char *key)
{
    for (size_t i = 0; i < w->meta_count; i += 2) {
        if (strcmp(w->meta[i], key) == 0)
            return w->meta[i + 1];
    }
    return NULL;
}

static float from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023;
    if (exponent == 0) { /* zero and subnormals: fraction x 2^-24 */
        float magnitude = (float)fraction * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return from_bits(sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13);
}

static float element(enum weight_type type, const void *p)
{
    union {
        float f;
        double d;
        uint16_t u16;
        int16_t i16;
        int32_t i32;
        int64_t i64;
        uint8_t u8;
        int8_t i8;
    } x;
    memcpy(&x, p, weight_type_size(type));
    switch (type) {
    case WEIGHT_F32:
        return x.f;
    case WEIGHT_F16:
        return half_to_float(x.u16);
    case WEIGHT_BF16:
        return from_bits((uint32_t)x.u16 << 16);
    case WEIGHT_F64:
        return (float)x.d;
    case WEIGHT_U8:
        return x.u8;
    case WEIGHT_I8:
        return x.i8;
    case WEIGHT_I16:
        return x.i16;
    case WEIGHT_I32:
        return (float)x.i32;
    case WEIGHT_I64:
        return (float)x.i64;
    }
    return NAN;
}

void weight_to_floats(const struct weight *w, float *out)
{
    size_t size = weight_type_size(w->type);
    if (w->type == WEIGHT_F32) {
        memcpy(out, w->data, w->count * size);
        return;
    }
    for (size_t i = 0; i < w->count; i++)
        out[i] = element(w->type, (const char *)w->data + i * size);
}
