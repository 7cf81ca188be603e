/*
 * Plain kernels: memory.
 */
#include "common/err.h"
#include "kernels/cpu/plain.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    ALIGNMENT = 64,      /* bytes: a cache line, and the widest vector */
    HUGE_PAGE = 2 << 20, /* bytes */
};

static struct tensor alloc(size_t count, enum dtype dtype)
{
    struct tensor t = {NULL, dtype};
    assert(dtype_size(dtype) == 4);
    size_t unit = count < 4 * (size_t)HUGE_PAGE / 4 ? ALIGNMENT : HUGE_PAGE;
    if (count <= (SIZE_MAX - HUGE_PAGE) / 4)
        t.data = aligned_alloc(unit, (count * 4 / unit + 1) * unit);
    if (!t.data)
        err_set(ERR_AGAIN, "no memory for a tensor of %zu elements", count);
    else if (unit == HUGE_PAGE) /* a fifth faster where weights stream through; a refusal costs nothing */
        madvise(t.data, (count * 4 / unit + 1) * unit, MADV_HUGEPAGE);
    return t;
}

static void release(struct tensor t)
{
    free(t.data);
}

static void upload(struct tensor to, const void *from, size_t count)
{
    if (count)
        memcpy(to.data, from, count * 4);
}

static void download(void *to, struct tensor from, size_t count)
{
    if (count)
        memcpy(to, from.data, count * 4);
}

static void upload_pixels(struct tensor to, const uint8_t *from, size_t pixels, const float scale[3],
                          const float offset[3])
{
    float *x = to.data;
    for (size_t i = 0; i < pixels; i++)
        for (size_t c = 0; c < 3; c++)
            x[3 * i + c] = scale[c] * ((float)from[3 * i + c] / 255) + offset[c];
}

static void copy(struct tensor to, struct tensor from, size_t count)
{
    upload(to, from.data, count);
}

static void fill(struct tensor x, float value, size_t count)
{
    float *v = x.data;
    for (size_t i = 0; i < count; i++)
        v[i] = value;
}

static void cast(struct tensor y_t, struct tensor x_t, float a, size_t count)
{
    float *y = y_t.data;
    const float *x = x_t.data;
    for (size_t i = 0; i < count; i++)
        y[i] = a * x[i];
}

static size_t free_bytes(void)
{
    return SIZE_MAX;
}

static void replay(struct recording **recording, void (*body)(void *self), void *self)
{
    (void)recording;
    body(self);
}

static void replay_free(struct recording *recording)
{
    (void)recording;
}

void plain_memory(struct kernels *k)
{
    k->alloc = alloc;
    k->free = release;
    k->upload = upload;
    k->download = download;
    k->upload_pixels = upload_pixels;
    k->copy = copy;
    k->cast = cast;
    k->fill = fill;
    k->free_bytes = free_bytes;
    k->replay = replay;
    k->replay_free = replay_free;
}
