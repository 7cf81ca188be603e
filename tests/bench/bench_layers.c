/*
 * bench-layers N_HID [THREADS]: each layer of the encoder of a released dVAE of that width (one picture of 256x256),
 * beside what this machine's roofline allows it: the larger of its products at the rate of large matrix products, and
 * its bytes at the rate at which memory streams. Products are those of the layer's method (Winograd's takes a quarter
 * of the direct one's), and bytes are those that must move if caches kept nothing: input, output, weights.
 */
#include "common/clock.h"
#include "common/err.h"
#include "kernels/kernels.h"
#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

enum { SIDE = 256, GROUPS = 4, CODES = 8192, MOST_LAYERS = 32 };

struct layer {
    struct conv_shape s;
    int times; /* that the network has it */
    bool gain, codes, pool;
};

struct roof {
    double products; /* GFLOP/s */
    double memory;   /* GB/s */
};

static struct tensor tensor(const struct kernels *k, size_t count)
{
    struct tensor t = k->alloc(count, F32);
    if (!t.data) {
        fprintf(stderr, "bench-layers: %s\n", err_text());
        exit(ERR_AGAIN);
    }
    for (size_t i = 0; i < count; i++)
        ((float *)t.data)[i] = (float)(i * 2654435761u % 1024) / 512 - 1;
    return t;
}

/* Best of several runs, in milliseconds. */
static double layer_time(const struct kernels *k, const struct layer *l)
{
    const struct conv_shape *s = &l->s;
    const struct conv_fusion f = {.relu_in = s->kernel == 3, .relu_out = s->kernel == 3, .gain = l->gain ? 0.5f : 0};
    size_t pixels = (size_t)s->height * s->width;
    struct tensor x = tensor(k, pixels * s->in), y = tensor(k, l->codes ? pixels : pixels * s->out);
    struct tensor w = tensor(k, (size_t)s->in * s->out * s->kernel * s->kernel), bias = tensor(k, s->out);
    struct tensor packed = tensor(k, k->conv_packed_size(s));
    double best = INFINITY, start = clock_now();
    k->conv_pack(packed, w, s);
    for (int run = 0; run < 3 || (run < 50 && clock_now() - start < 0.3); run++) {
        double before = clock_now();
        if (l->pool)
            k->maxpool(y, x, 1, s->height, s->width, s->in);
        else if (l->codes)
            k->conv_argmax((struct tensor){y.data, I32}, x, packed, bias, s);
        else
            k->conv_infer(y, x, packed, bias, s, &f);
        best = fmin(best, clock_now() - before);
    }
    k->free(x);
    k->free(y);
    k->free(w);
    k->free(bias);
    k->free(packed);
    return best * 1e3;
}

/* Its weights are four times as many; the direct method's are padded to 32 columns at most. */
static bool by_winograd(const struct kernels *k, const struct conv_shape *s)
{
    return s->kernel == 3 && k->conv_packed_size(s) > (size_t)9 * s->in * ((s->out + 31) / 32 * 32);
}

/* What the roofline allows, in milliseconds. */
static double layer_roof(const struct kernels *k, const struct layer *l, const struct roof *roof)
{
    const struct conv_shape *s = &l->s;
    double pixels = (double)s->height * s->width;
    double products = 2 * pixels * s->in * s->out * s->kernel * s->kernel / (by_winograd(k, s) ? 4 : 1);
    double out = l->codes ? 1 : l->gain ? 2.0 * s->out : s->out;
    double bytes = 4 * (pixels * (s->in + out) + (double)k->conv_packed_size(s));
    if (l->pool)
        products = 0, bytes = 4 * pixels * s->in * 1.25;
    return fmax(products / roof->products, bytes / roof->memory) / 1e6;
}

static struct layer conv(int side, int in, int out, int kernel, int times, bool gain)
{
    return (struct layer){.s = {1, side, side, in, out, kernel}, .times = times, .gain = gain};
}

static int encoder(struct layer *l, int hidden)
{
    int n = 0, before = hidden;
    l[n++] = conv(SIDE, 3, hidden, 7, 1, false);
    for (int g = 0; g < GROUPS; g++) {
        int side = SIDE >> g, width = hidden << g, narrow = width / 4;
        if (g > 0) {
            l[n++] = (struct layer){.s = {1, side * 2, side * 2, before, before, 1}, .times = 1, .pool = true};
            l[n++] = conv(side, before, narrow, 3, 1, false);
            l[n++] = conv(side, before, width, 1, 1, false);
        }
        l[n++] = conv(side, width, narrow, 3, g > 0 ? 1 : 2, false);
        l[n++] = conv(side, narrow, narrow, 3, 4, false);
        l[n++] = conv(side, narrow, width, 1, 2, true);
        before = width;
    }
    l[n] = conv(SIDE >> (GROUPS - 1), before, CODES, 1, 1, false);
    l[n++].codes = true;
    return n;
}

/* OpenBLAS's product of two n x n matrices, in GFLOP/s. */
static double sgemm_rate(const struct kernels *k, int n, int threads)
{
    struct tensor c = tensor(k, (size_t)n * n), x = tensor(k, (size_t)n * n), y = tensor(k, (size_t)n * n);
    double best = INFINITY;
    openblas_set_num_threads(threads);
    for (int run = 0; run < 3; run++) {
        double before = clock_now();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, n, n, 1, x.data, n, y.data, n, 0, c.data, n);
        best = fmin(best, clock_now() - before);
    }
    k->free(c);
    k->free(x);
    k->free(y);
    return 2.0 * n * n * n / best / 1e9;
}

/* a = b + 3 c over arrays that no cache holds, in GB/s. */
static double triad_rate(const struct kernels *k, int threads)
{
    enum { N = 1 << 25 };
    struct tensor a = tensor(k, N), b = tensor(k, N), c = tensor(k, N);
    float *restrict to = a.data;
    const float *x = b.data, *y = c.data;
    double best = INFINITY;
    omp_set_num_threads(threads);
    for (int run = 0; run < 5; run++) {
        double before = clock_now();
#pragma omp parallel for simd
        for (int i = 0; i < N; i++)
            to[i] = x[i] + 3 * y[i];
        best = fmin(best, clock_now() - before);
    }
    k->free(a);
    k->free(b);
    k->free(c);
    return 3.0 * N * sizeof(float) / best / 1e9;
}

static void print_layer(const struct layer *l, const char *method, double ms, double roof)
{
    char name[64];
    if (l->pool)
        snprintf(name, sizeof name, "%dx%d, %d", l->s.height, l->s.width, l->s.in);
    else
        snprintf(name, sizeof name, "%dx%d, %d to %d, %dx%d", l->s.height, l->s.width, l->s.in, l->s.out, l->s.kernel,
                 l->s.kernel);
    printf("%-30s %-9s %5d %9.2f %9.2f %5.2f\n", name, method, l->times, ms, roof, roof / ms);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const struct kernels *k = kernels_cpu();
    int hidden = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0;
    int threads = argc > 2 ? (int)strtol(argv[2], NULL, 10) : omp_get_num_procs();
    if (!k || argc > 3 || hidden < 4 || hidden > 1024 || threads < 1) {
        fprintf(stderr, "bench-layers: %s\n", k ? "usage: bench-layers N_HID [THREADS]" : err_text());
        return ERR_USAGE;
    }
    kernels_set_threads(threads);
    struct layer layers[MOST_LAYERS];
    struct layer product = conv(64, 512, 512, 1, 1, false);
    double ours = 2.0 * 64 * 64 * 512 * 512 / layer_time(k, &product) / 1e6;
    double blas = sgemm_rate(k, 4096, threads), sum = 0, roof_sum = 0;
    struct roof roof = {fmax(ours, blas), triad_rate(k, threads)};
    printf("%s, %d threads: products %.0f GFLOP/s ours (4096 x 512 x 512), %.0f OpenBLAS's sgemm (4096^3); memory %.1f "
           "GB/s (triad)\n",
           k->name, threads, ours, blas, roof.memory);
    printf("%-30s %-9s %5s %9s %9s %5s\n", "layer", "method", "times", "ms", "roofline", "share");
    for (int i = 0, n = encoder(layers, hidden); i < n; i++) {
        const struct layer *l = &layers[i];
        double ms = layer_time(k, l), least = layer_roof(k, l, &roof);
        print_layer(l, l->pool ? "max-pool" : by_winograd(k, &l->s) ? "Winograd" : "direct", ms, least);
        sum += l->times * ms;
        roof_sum += l->times * least;
    }
    printf("%-30s %-9s %5s %9.1f %9.1f %5.2f\n", "all", "", "", sum, roof_sum, roof_sum / sum);
    return 0;
}
