/*
 * k-means initialisation of the dVAE's two layers that touch the codebook. Codes then start out spread over what the
 * encoder's features really are, where a random output layer gives most positions to a few codes and training collapses
 * onto them.
 */
#include "common/err.h"
#include "common/mem.h"
#include "common/random.h"
#include "models/dvae_private.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct clustering {
    size_t points, centres, width;
    float *features; /* [points, width] */
    float *centre;   /* [centres, width] */
    int32_t *owner;  /* [points] the nearest centre */
};

/* The encoder's features of all pictures, in as large batches as there is room for. */
static void collect(struct dvae *d, const float *x, int count, float *features)
{
    size_t values = (size_t)d->side * (size_t)d->side * 3;
    size_t width = (size_t)d->grid * (size_t)d->grid * (size_t)d->encoder.output.in;
    for (int i = 0; i < count; i += d->batch) {
        int n = count - i < d->batch ? count - i : d->batch;
        d->k->upload(d->x, x + (size_t)i * values, (size_t)n * values);
        struct tensor f = dvae_net_features(&d->encoder, &d->scratch, d->x, n);
        d->k->download(features + (size_t)i * width, f, (size_t)n * width);
    }
}

/* Sets the output layer to logit = (2 f.c - |c|^2) / scale: largest where |f - c| is smallest. */
static void set_output(struct dvae *d, const struct clustering *c, float scale)
{
    float *w = xmalloc(c->centres * c->width * sizeof *w), *b = xmalloc(c->centres * sizeof *b);
    for (size_t v = 0; v < c->centres; v++) {
        double norm = 0;
        for (size_t j = 0; j < c->width; j++) {
            float value = c->centre[v * c->width + j];
            w[v * c->width + j] = 2 * value / scale;
            norm += (double)value * value;
        }
        b[v] = (float)(-norm / scale);
    }
    d->k->upload(param_value(&d->params, d->encoder.output.param), w, c->centres * c->width);
    d->k->upload(param_value(&d->params, d->encoder.output.param + 1), b, c->centres);
    free(w);
    free(b);
}

/* The output layer itself finds each point's nearest centre. */
static void assign(struct dvae *d, struct clustering *c)
{
    size_t room = (size_t)d->grid * (size_t)d->grid * (size_t)d->batch;
    set_output(d, c, 1);
    struct tensor w = param_value(&d->params, d->encoder.output.param);
    struct tensor b = param_value(&d->params, d->encoder.output.param + 1);
    for (size_t i = 0; i < c->points; i += room) {
        size_t n = c->points - i < room ? c->points - i : room;
        d->k->upload(d->scratch.wide, c->features + i * c->width, n * c->width);
        d->k->linear(d->logits, d->scratch.wide, w, b, (int)n, (int)c->width, (int)c->centres);
        d->k->argmax(d->codes, d->logits, (int)n, (int)c->centres);
        d->k->download(c->owner + i, d->codes, n);
    }
}

/* Distances squared of points to their centres, summed up: running[i] is the sum up to point i. */
static void sum_distances(const struct clustering *c, double *running)
{
    double sum = 0;
    for (size_t i = 0; i < c->points; i++) {
        const float *f = c->features + i * c->width, *o = c->centre + (size_t)c->owner[i] * c->width;
        double distance = 0;
        for (size_t j = 0; j < c->width; j++)
            distance += ((double)f[j] - o[j]) * ((double)f[j] - o[j]);
        sum += distance;
        running[i] = sum;
    }
}

/* A point drawn with a probability proportional to its distance squared from its centre, as k-means++ draws. */
static size_t draw_far(const double *running, size_t points, float uniform)
{
    double wanted = uniform * running[points - 1];
    size_t low = 0, high = points - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (running[middle] < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Moves each centre to the mean of its points; one without points moves to a point far from all centres. */
static void move_centres(struct clustering *c, uint64_t key, int iteration)
{
    double *sum = xcalloc(c->centres * c->width, sizeof *sum), *running = xmalloc(c->points * sizeof *running);
    size_t *members = xcalloc(c->centres, sizeof *members);
    sum_distances(c, running);
    for (size_t i = 0; i < c->points; i++) {
        double *s = sum + (size_t)c->owner[i] * c->width;
        members[c->owner[i]]++;
        for (size_t j = 0; j < c->width; j++)
            s[j] += c->features[i * c->width + j];
    }
    for (size_t v = 0; v < c->centres; v++) {
        float *centre = c->centre + v * c->width;
        if (members[v] == 0) {
            size_t far = draw_far(running, c->points, random_uniform(key, (uint64_t)iteration + 1, v));
            memcpy(centre, c->features + far * c->width, c->width * sizeof *centre);
            continue;
        }
        for (size_t j = 0; j < c->width; j++)
            centre[j] = (float)(sum[v * c->width + j] / (double)members[v]);
    }
    free(members);
    free(running);
    free(sum);
}

/* Entry j of the decoder's vector for a centred centre: the entry itself when there are as many, else a random
 * direction's. */
static double project(const float *centre, const double *mean, size_t width, size_t init, size_t j, uint64_t key)
{
    if (init == width)
        return centre[j] - mean[j];
    double sum = 0;
    for (size_t i = 0; i < width; i += 2) {
        struct random4 r = random_philox(key, j, i / 2);
        float n[2];
        random_normal2(r.v[0], r.v[1], n);
        sum += n[0] * (centre[i] - mean[i]);
        if (i + 1 < width)
            sum += n[1] * (centre[i + 1] - mean[i + 1]);
    }
    return sum;
}

/* Sets column v of the decoder's first layer from centre v, at unit variance over the layer. */
static void set_input(struct dvae *d, const struct clustering *c, uint64_t seed)
{
    size_t init = (size_t)d->config.init;
    uint64_t key = random_key(seed, RANDOM_INIT);
    double *mean = xcalloc(c->width, sizeof *mean), square = 0;
    float *w = xmalloc(init * c->centres * sizeof *w);
    for (size_t v = 0; v < c->centres; v++) {
        for (size_t j = 0; j < c->width; j++)
            mean[j] += c->centre[v * c->width + j] / (double)c->centres;
    }
    for (size_t v = 0; v < c->centres; v++) {
        for (size_t j = 0; j < init; j++) {
            double value = project(c->centre + v * c->width, mean, c->width, init, j, key);
            w[j * c->centres + v] = (float)value;
            square += value * value;
        }
    }
    double deviation = sqrt(square / (double)(init * c->centres));
    for (size_t i = 0; deviation > 0 && i < init * c->centres; i++)
        w[i] = (float)(w[i] / deviation);
    d->k->upload(param_value(&d->params, d->decoder.input.param), w, init * c->centres);
    d->k->fill(param_value(&d->params, d->decoder.input.param + 1), 0, init);
    free(w);
    free(mean);
}

int dvae_init_kmeans(struct dvae *d, const float *x, int count, float scale, int iterations, uint64_t seed)
{
    assert(d->train);
    struct clustering c = {.points = (size_t)count * (size_t)d->grid * (size_t)d->grid,
                           .centres = (size_t)d->config.vocab,
                           .width = (size_t)d->encoder.output.in};
    if (c.points < c.centres)
        return err_set(ERR_USAGE, "k-means of %zu codes needs at least as many positions, but %d pictures have %zu",
                       c.centres, count, c.points);
    uint64_t key = random_key(seed, RANDOM_KMEANS);
    c.features = xmalloc(c.points * c.width * sizeof *c.features);
    c.centre = xmalloc(c.centres * c.width * sizeof *c.centre);
    c.owner = xmalloc(c.points * sizeof *c.owner);
    collect(d, x, count, c.features);
    for (size_t v = 0; v < c.centres; v++) {
        size_t point = random_permute(c.points, key, v);
        memcpy(c.centre + v * c.width, c.features + point * c.width, c.width * sizeof *c.centre);
    }
    for (int i = 0; i < iterations; i++) {
        assign(d, &c);
        move_centres(&c, key, i);
    }
    set_output(d, &c, scale);
    if (d->config.init > 0)
        set_input(d, &c, seed);
    free(c.owner);
    free(c.centre);
    free(c.features);
    return 0;
}
