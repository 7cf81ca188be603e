/*
 * bench-kernels [THREADS]: rates of the operations that take the time, plain beside fast, at the demo's sizes and at
 * large ones. Products count their multiplications and additions; the rest count the bytes they must read and write.
 * The best of several runs, since other programs only ever make a run slower. The yardstick for products is OpenBLAS's
 * sgemm of 1024 x 1024 matrices with as many threads, measured first; the last column is our share of it.
 */
#include "common/clock.h"
#include "common/err.h"
#include "common/random.h"
#include "kernels/kernels.h"
#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

enum { TENSORS = 9 };

struct bench {
    const struct kernels *k;
    const int *s;
    struct tensor t[TENSORS];
    int tensors;
    double work; /* operations or bytes of one call */
};

struct subject {
    const char *name, *unit, *sizes;
    void (*prepare)(struct bench *b);
    void (*call)(struct bench *b);
    int shape[8];
};

static struct tensor tensor(struct bench *b, size_t count)
{
    struct tensor t = b->k->alloc(count, F32);
    if (!t.data) {
        fprintf(stderr, "bench-kernels: %s\n", err_text());
        exit(ERR_AGAIN);
    }
    for (size_t i = 0; i < count; i++)
        ((float *)t.data)[i] = 2 * random_unit(0x9E3779B9u * (uint32_t)(i + 1)) - 1;
    b->t[b->tensors++] = t;
    return t;
}

static struct conv_shape conv_shape(const int *s)
{
    return (struct conv_shape){s[0], s[1], s[2], s[3], s[4], s[5]};
}

static void prepare_conv(struct bench *b)
{
    struct conv_shape c = conv_shape(b->s);
    size_t pixels = (size_t)c.batch * c.height * c.width, weights = (size_t)c.in * c.out * c.kernel * c.kernel;
    tensor(b, pixels * c.out);
    tensor(b, pixels * c.in);
    tensor(b, weights);
    tensor(b, c.out);
    tensor(b, pixels * c.in);
    tensor(b, weights);
    tensor(b, c.out);
    b->work = 2.0 * (double)pixels * (double)weights;
}

static void conv(struct bench *b)
{
    struct conv_shape c = conv_shape(b->s);
    b->k->conv(b->t[0], b->t[1], b->t[2], b->t[3], &c);
}

/* Counted as the direct method's work, whatever the method does. */
static void prepare_conv_infer(struct bench *b)
{
    struct conv_shape c = conv_shape(b->s);
    prepare_conv(b);
    struct tensor packed = tensor(b, b->k->conv_packed_size(&c));
    b->k->conv_pack(packed, b->t[2], &c);
}

static void conv_infer(struct bench *b)
{
    struct conv_shape c = conv_shape(b->s);
    static const struct conv_fusion FUSION = {.relu_in = true, .relu_out = true};
    b->k->conv_infer(b->t[0], b->t[1], b->t[7], b->t[3], &c, &FUSION);
}

static void prepare_conv_backward(struct bench *b)
{
    prepare_conv(b);
    b->work *= 2;
}

static void conv_backward(struct bench *b)
{
    struct conv_shape c = conv_shape(b->s);
    b->k->conv_backward(b->t[4], b->t[5], b->t[6], b->t[0], b->t[1], b->t[2], &c);
}

static void prepare_linear(struct bench *b)
{
    size_t rows = b->s[0], in = b->s[1], out = b->s[2];
    tensor(b, rows * out);
    tensor(b, rows * in);
    tensor(b, in * out);
    tensor(b, out);
    tensor(b, rows * in);
    tensor(b, in * out);
    tensor(b, out);
    b->work = 2.0 * (double)rows * (double)in * (double)out;
}

static void linear(struct bench *b)
{
    b->k->linear(b->t[0], b->t[1], b->t[2], b->t[3], b->s[0], b->s[1], b->s[2]);
}

static void prepare_linear_backward(struct bench *b)
{
    prepare_linear(b);
    b->work *= 2;
}

static void linear_backward(struct bench *b)
{
    b->k->linear_backward(b->t[4], b->t[5], b->t[6], b->t[0], b->t[1], b->t[2], b->s[0], b->s[1], b->s[2]);
}

/* s: mask, batch, text states, grid, heads, head_dim */
static struct attention_shape attention_shape(const int *s)
{
    return (struct attention_shape){.mask = (enum mask)s[0],
                                    .batch = s[1],
                                    .states = s[2] + s[3] * s[3],
                                    .heads = s[4],
                                    .head_dim = s[5],
                                    .prefix = s[2],
                                    .grid = s[3],
                                    .kernel = 11};
}

/* Image keys that image position p sees. */
static int visible(const struct attention_shape *a, int p)
{
    int row = p / a->grid;
    if (a->mask == MASK_ROW)
        return p < a->grid ? p + 1 : a->grid + 1;
    if (a->mask == MASK_COLUMN)
        return row + 1;
    int window = a->kernel / 2 * a->kernel + a->kernel / 2 + 1;
    return p < window ? p + 1 : window;
}

static void prepare_attention(struct bench *b)
{
    struct attention_shape a = attention_shape(b->s);
    size_t queries = (size_t)a.batch * a.states * a.heads, n = queries * a.head_dim;
    double pairs = 0.5 * a.prefix * (a.prefix + 1);
    for (int p = 0; p < a.grid * a.grid; p++)
        pairs += a.prefix + visible(&a, p);
    tensor(b, n);
    tensor(b, queries);
    tensor(b, 3 * n);
    tensor(b, 3 * n);
    tensor(b, n);
    b->k->attention(b->t[0], b->t[1], b->t[2], &a);
    b->work = 4 * pairs * a.batch * a.heads * a.head_dim;
}

static void attention(struct bench *b)
{
    struct attention_shape a = attention_shape(b->s);
    b->k->attention(b->t[0], b->t[1], b->t[2], &a);
}

static void prepare_attention_backward(struct bench *b)
{
    prepare_attention(b);
    b->work *= 2.5;
}

static void attention_backward(struct bench *b)
{
    struct attention_shape a = attention_shape(b->s);
    b->k->attention_backward(b->t[3], b->t[4], b->t[2], b->t[0], b->t[1], &a);
}

/* s: rows, d */
static void prepare_layernorm(struct bench *b)
{
    size_t rows = b->s[0], d = b->s[1];
    tensor(b, rows * d);
    tensor(b, rows);
    tensor(b, rows);
    tensor(b, rows * d);
    tensor(b, d);
    tensor(b, d);
    b->work = 4.0 * 2 * (double)rows * (double)d;
}

static void layernorm(struct bench *b)
{
    b->k->layernorm(b->t[0], b->t[1], b->t[2], b->t[3], b->t[4], b->t[5], b->s[0], b->s[1]);
}

static void act(struct bench *b)
{
    b->k->act(ACT_GELU, b->t[0], b->t[3], (size_t)b->s[0] * b->s[1]);
}

/* In 1e9 operations or bytes a second. */
static double rate(const struct kernels *k, const struct subject *subject)
{
    struct bench b = {.k = k, .s = subject->shape};
    subject->prepare(&b);
    double best = INFINITY, start = clock_now();
    for (int run = 0; run < 3 || (run < 1000 && clock_now() - start < 0.2); run++) {
        double before = clock_now();
        subject->call(&b);
        best = fmin(best, clock_now() - before);
    }
    for (int i = 0; i < b.tensors; i++)
        k->free(b.t[i]);
    return b.work / best / 1e9;
}

static const struct subject SUBJECTS[] = {
    {"conv", "GFLOP/s", "16x32x32, 3 -> 32, 7x7", prepare_conv, conv, {16, 32, 32, 3, 32, 7}},
    {"conv", "GFLOP/s", "16x32x32, 32 -> 8, 3x3", prepare_conv, conv, {16, 32, 32, 32, 8, 3}},
    {"conv", "GFLOP/s", "16x16x16, 64 -> 16, 3x3", prepare_conv, conv, {16, 16, 16, 64, 16, 3}},
    {"conv", "GFLOP/s", "16x8x8, 128 -> 256, 1x1", prepare_conv, conv, {16, 8, 8, 128, 256, 1}},
    {"conv", "GFLOP/s", "1x64x64, 256 -> 64, 3x3", prepare_conv, conv, {1, 64, 64, 256, 64, 3}},
    {"conv_infer", "GFLOP/s", "1x32x32, 32 -> 8, 3x3", prepare_conv_infer, conv_infer, {1, 32, 32, 32, 8, 3}},
    {"conv_infer", "GFLOP/s", "1x128x128, 256 -> 64, 3x3", prepare_conv_infer, conv_infer, {1, 128, 128, 256, 64, 3}},
    {"conv_infer", "GFLOP/s", "1x128x128, 64 -> 64, 3x3", prepare_conv_infer, conv_infer, {1, 128, 128, 64, 64, 3}},
    {"conv_infer", "GFLOP/s", "1x32x32, 2048 -> 512, 3x3", prepare_conv_infer, conv_infer, {1, 32, 32, 2048, 512, 3}},
    {"conv_infer", "GFLOP/s", "1x128x128, 64 -> 256, 1x1", prepare_conv_infer, conv_infer, {1, 128, 128, 64, 256, 1}},
    {"conv_backward",
     "GFLOP/s",
     "16x32x32, 32 -> 8, 3x3",
     prepare_conv_backward,
     conv_backward,
     {16, 32, 32, 32, 8, 3}},
    {"conv_backward",
     "GFLOP/s",
     "16x16x16, 64 -> 16, 3x3",
     prepare_conv_backward,
     conv_backward,
     {16, 16, 16, 64, 16, 3}},
    {"linear", "GFLOP/s", "1024 rows, 128 -> 384", prepare_linear, linear, {1024, 128, 384}},
    {"linear", "GFLOP/s", "1024 rows, 1024 -> 1024", prepare_linear, linear, {1024, 1024, 1024}},
    {"linear_backward", "GFLOP/s", "1024 rows, 128 -> 384", prepare_linear_backward, linear_backward, {1024, 128, 384}},
    {"attention, row", "GFLOP/s", "4x(33 + 8x8), 4 x 32", prepare_attention, attention, {MASK_ROW, 4, 33, 8, 4, 32}},
    {"attention, row",
     "GFLOP/s",
     "1x(257 + 32x32), 4 x 64",
     prepare_attention,
     attention,
     {MASK_ROW, 1, 257, 32, 4, 64}},
    {"attention, column",
     "GFLOP/s",
     "1x(257 + 32x32), 4 x 64",
     prepare_attention,
     attention,
     {MASK_COLUMN, 1, 257, 32, 4, 64}},
    {"attention, conv",
     "GFLOP/s",
     "1x(257 + 32x32), 4 x 64",
     prepare_attention,
     attention,
     {MASK_CONV, 1, 257, 32, 4, 64}},
    {"attention_backward, row",
     "GFLOP/s",
     "4x(33 + 8x8), 4 x 32",
     prepare_attention_backward,
     attention_backward,
     {MASK_ROW, 4, 33, 8, 4, 32}},
    {"layernorm", "GB/s", "1024 x 128", prepare_layernorm, layernorm, {1024, 128}},
    {"layernorm", "GB/s", "1024 x 3968", prepare_layernorm, layernorm, {1024, 3968}},
    {"gelu", "GB/s", "1024 x 512", prepare_layernorm, act, {1024, 512}},
};

/* OpenBLAS's product of two n x n matrices, in GFLOP/s. */
static double sgemm_rate(void)
{
    enum { N = 1024 };
    struct bench b = {.k = kernels_plain()};
    float *c = tensor(&b, (size_t)N * N).data, *x = tensor(&b, (size_t)N * N).data, *y = tensor(&b, (size_t)N * N).data;
    double best = INFINITY;
    openblas_set_num_threads(omp_get_max_threads());
    for (int run = 0; run < 20; run++) {
        double before = clock_now();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, N, N, N, 1, x, N, y, N, 0, c, N);
        best = fmin(best, clock_now() - before);
    }
    for (int i = 0; i < b.tensors; i++)
        b.k->free(b.t[i]);
    return 2.0 * N * N * N / best / 1e9;
}

int main(int argc, char **argv)
{
    const struct kernels *fast = kernels_cpu();
    if (!fast || argc > 2) {
        fprintf(stderr, "bench-kernels: %s\n", fast ? "usage: bench-kernels [THREADS]" : err_text());
        return ERR_USAGE;
    }
    kernels_set_threads(argc == 2 ? (int)strtol(argv[1], NULL, 10) : 0);
    double sgemm = sgemm_rate();
    printf("%-26s %-26s %10s %10.2f GFLOP/s\n", "OpenBLAS sgemm", "1024 x 1024 x 1024", "", sgemm);
    printf("%-26s %-26s %10s %10s\n", "", "", "plain", fast->name);
    for (size_t i = 0; i < sizeof SUBJECTS / sizeof *SUBJECTS; i++) {
        const struct subject *s = &SUBJECTS[i];
        printf("%-26s %-26s %10.2f", s->name, s->sizes, rate(kernels_plain(), s));
        double r = rate(fast, s);
        printf(" %10.2f %s", r, s->unit);
        if (s->unit[1] == 'F')
            printf("  %.2f of sgemm", r / sgemm);
        printf("\n");
        fflush(stdout);
    }
    return 0;
}
