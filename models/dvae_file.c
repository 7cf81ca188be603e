/*
 * Opening and saving dVAEs. Sizes are read off the tensors' shapes, so that OpenAI's pickles, which say nothing of
 * themselves, and our own files are opened alike.
 */
#include "common/err.h"
#include "common/mem.h"
#include "models/dvae_private.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RELEASE_SIDE 256 /* pixels: what a file was trained at that does not say */

/* One of the two networks in a file: its tensors are called `prefix` + "blocks...". */
struct part {
    const struct weights *w;
    const char *prefix;
};

static const struct weight *find(const struct part *part, const char *name)
{
    char *full = xasprintf("%s%s", part->prefix, name);
    const struct weight *t = weights_find(part->w, full);
    free(full);
    return t;
}

/* Extent `axis` of a convolution's weight; 0 when there is no such convolution. */
static int extent(const struct part *part, const char *name, int axis)
{
    const struct weight *t = find(part, name);
    return t && t->ndim == 4 && t->shape[axis] <= INT_MAX ? (int)t->shape[axis] : 0;
}

/* How many numbers from 1 on make `format` the name of a tensor that is there. */
static int count_of(const struct part *part, const char *format, int most)
{
    char name[80];
    int n = 0;
    for (; n <= most; n++) {
        snprintf(name, sizeof name, format, n + 1);
        if (!find(part, name))
            break;
    }
    return n;
}

static struct dvae_config config_of(const struct part *encoder, const struct part *decoder)
{
    return (struct dvae_config){
        .hidden = extent(encoder, "blocks.input.w", 0),
        .init = decoder ? extent(decoder, "blocks.input.w", 0) : 0,
        .groups = count_of(encoder, "blocks.group_%d.block_1.res_path.conv_1.w", DVAE_MAX_GROUPS),
        .blocks = count_of(encoder, "blocks.group_1.block_%d.res_path.conv_1.w", DVAE_MAX_BLOCKS),
        .vocab = extent(encoder, "blocks.output.conv.w", 0),
    };
}

/* The tensor of parameter i in the file of its network, or NULL with an error. */
static const struct weight *tensor_of(const struct dvae *d, int i, const struct part *encoder,
                                      const struct part *decoder)
{
    const struct param *p = &d->params.list[i];
    const struct part *part = d->config.init > 0 && i >= d->decoder.input.param ? decoder : encoder;
    char *name = xasprintf("%s%s", part->prefix, strchr(p->name, '.') + 1);
    const struct weight *t = params_tensor(part->w, name, p->ndim, p->shape);
    free(name);
    return t;
}

/* Shapes are compared before memory is taken: a file's claims then cost no more than the file. */
static int fill(struct dvae *d, const struct part *encoder, const struct part *decoder)
{
    for (int i = 0; i < d->params.count; i++) {
        if (!tensor_of(d, i, encoder, decoder))
            return -1;
    }
    if (dvae_alloc(d) != 0)
        return -1;
    for (int i = 0; i < d->params.count; i++) {
        float *values = xmalloc(d->params.list[i].count * sizeof *values);
        weight_to_floats(tensor_of(d, i, encoder, decoder), values);
        d->k->upload(param_value(&d->params, i), values, d->params.list[i].count);
        free(values);
    }
    return 0;
}

static int open_parts(struct dvae **d, const struct kernels *k, const struct part *encoder, const struct part *decoder,
                      int side, int batch)
{
    struct dvae_config c = config_of(encoder, decoder);
    const char *trained_at = weights_meta(encoder->w, "side");
    if (side == 0)
        side = trained_at ? (int)strtol(trained_at, NULL, 10) : RELEASE_SIDE;
    if (batch == 0)
        batch = dvae_together(k, side);
    if (dvae_build(d, k, &c, side, batch, false) != 0)
        return -1;
    if (fill(*d, encoder, decoder) != 0) {
        dvae_free(d);
        return -1;
    }
    return 0;
}

static bool ends_with(const char *name, const char *end)
{
    size_t len = strlen(name), end_len = strlen(end);
    return len >= end_len && strcmp(name + len - end_len, end) == 0;
}

/* The prefix of the network whose input convolution is kernel x kernel: 7 the encoder's, 1 the decoder's. 1 with the
 * prefix (malloc'ed), 0 when there is none, -1 when there are several. */
static int find_prefix(const struct weights *w, int kernel, char **prefix)
{
    static const char input[] = "blocks.input.w";
    *prefix = NULL;
    for (size_t i = 0; i < weights_count(w); i++) {
        const struct weight *t = weights_at(w, i);
        if (!ends_with(t->name, input) || t->ndim != 4 || t->shape[2] != kernel)
            continue;
        if (*prefix) {
            err_set(ERR_DATA, "two networks, with %s%s and %s: give a file with one dVAE", *prefix, input, t->name);
            free(*prefix);
            *prefix = NULL;
            return -1;
        }
        *prefix = xstrdup(t->name);
        (*prefix)[strlen(t->name) - strlen(input)] = 0;
    }
    return *prefix != NULL;
}

static int open_found(struct dvae **d, const struct kernels *k, const struct weights *encoder,
                      const struct weights *decoder, bool need_decoder, int side, int batch)
{
    struct part e = {.w = encoder}, v = {.w = decoder};
    char *encoder_prefix = NULL, *decoder_prefix = NULL;
    const char *kind = weights_meta(encoder, "kind");
    int found, status = -1;
    if (kind && strcmp(kind, "dvae") != 0)
        return err_set(ERR_DATA, "this is a %s, not a dVAE", kind);
    if ((found = find_prefix(encoder, 7, &encoder_prefix)) < 0)
        goto out;
    if (!found) {
        err_set(ERR_DATA, "no dVAE encoder in it: no 7x7 convolution is called ...blocks.input.w");
        goto out;
    }
    if ((found = find_prefix(decoder, 1, &decoder_prefix)) < 0)
        goto out;
    if (!found && need_decoder) {
        err_set(ERR_DATA, "no dVAE decoder in it: no 1x1 convolution is called ...blocks.input.w");
        goto out;
    }
    e.prefix = encoder_prefix;
    v.prefix = decoder_prefix;
    status = open_parts(d, k, &e, found ? &v : NULL, side, batch);
out:
    free(encoder_prefix);
    free(decoder_prefix);
    return status;
}

int dvae_open(struct dvae **d, const struct kernels *k, const char *path, const char *decoder_path, int side, int batch)
{
    struct weights *encoder = NULL, *decoder = NULL;
    int status = -1;
    *d = NULL;
    if (weights_load(&encoder, path) == 0 && (!decoder_path || weights_load(&decoder, decoder_path) == 0)) {
        status = open_found(d, k, encoder, decoder ? decoder : encoder, decoder_path != NULL, side, batch);
        if (status != 0)
            err_wrap(decoder_path ? "%s, %s" : "%s", path, decoder_path);
    }
    weights_free(&decoder);
    weights_free(&encoder);
    return status;
}

int dvae_save(const struct dvae *d, struct tensor slab, const char *path)
{
    const int numbers[] = {d->config.hidden, d->config.init,  d->config.groups,
                           d->config.blocks, d->config.vocab, d->side};
    char text[6][12];
    for (int i = 0; i < 6; i++)
        snprintf(text[i], sizeof text[i], "%d", numbers[i]);
    const char *const meta[] = {"kind",   "dvae",  "hidden", text[0], "init", text[1], "groups", text[2],
                                "blocks", text[3], "vocab",  text[4], "side", text[5], NULL};
    return params_save(&d->params, slab, path, meta);
}
