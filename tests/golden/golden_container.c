/*
 * PyTorch's containers: every weight of the golden file beside them must be in them, exactly; rounded to half
 * precision in a container that holds nothing finer (clip_torchscript.pt does so in float32 tensors).
 */
#include "common/err.h"
#include "common/mem.h"
#include "tests/golden/golden.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a container's file name begins with says whose weights it holds. */
static const struct {
    const char *start, *file, *prefix;
} models[] = {
    {"encoder", "dvae.safetensors", "w.encoder."},
    {"decoder", "dvae.safetensors", "w.decoder."},
    {"clip", "clip.safetensors", "w."},
};

/* The nearest half-precision number, ties to even: 11 significant bits, and nothing finer than 2^-24. */
static float to_half(float x)
{
    int exponent;
    frexpf(x, &exponent);
    int unit = exponent - 11 > -24 ? exponent - 11 : -24;
    return ldexpf(rintf(ldexpf(x, -unit)), unit);
}

static bool all_half(const struct weights *w)
{
    bool half = true;
    for (size_t i = 0; i < weights_count(w) && half; i++) {
        const struct weight *t = weights_at(w, i);
        float *values = golden_read(t);
        for (size_t j = 0; j < t->count && half; j++)
            half = to_half(values[j]) == values[j];
        free(values);
    }
    return half;
}

static void compare(struct golden *g, const char *name, const struct weight *got, const struct weight *want, bool half)
{
    size_t differ = 0;
    float *a = golden_read(got), *b = golden_read(want);
    for (size_t i = 0; i < want->count; i++)
        differ += a[i] != (half ? to_half(b[i]) : b[i]);
    golden_exact(g, name, differ, want->count);
    free(a);
    free(b);
}

static int check_all(struct golden *g, const struct weights *expected, const char *prefix)
{
    size_t len = strlen(prefix);
    bool half = all_half(g->w);
    for (size_t i = 0; i < weights_count(expected); i++) {
        const struct weight *want = weights_at(expected, i);
        if (strncmp(want->name, prefix, len) != 0)
            continue;
        const struct weight *got = golden_find(g, want->name + len, want->ndim, want->shape);
        if (!got)
            return -1;
        compare(g, want->name + len, got, want, half);
    }
    return 0;
}

int golden_container(struct golden *g)
{
    const char *slash = strrchr(g->path, '/'), *name = slash ? slash + 1 : g->path;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (strncmp(name, models[i].start, strlen(models[i].start)) != 0)
            continue;
        struct weights *expected = NULL;
        char *path = golden_beside(g, models[i].file);
        int status = weights_load(&expected, path);
        if (status == 0)
            status = check_all(g, expected, models[i].prefix);
        weights_free(&expected);
        free(path);
        return status;
    }
    return err_set(ERR_DATA, "not a golden vector: no \"kind\" in its metadata, and not a container named encoder*, "
                             "decoder* or clip*");
}
