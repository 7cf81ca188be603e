/*
 * bench SECTION [FILE] - times one section of the CUDA backend with random weights and made-up tokens, prints a table
 * and appends JSON objects to FILE. Each begins by measuring what the device reaches: a large bf16 product (cuBLASLt)
 * and a large copy. ATELIER_BENCH=small takes sizes for the emulator. Ends with 77 where there is no device.
 */
#include "tests/gpu/bench.h"
#include "common/err.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NO_DEVICE = 77 };

static const struct bench_sizes REAL = {
    .product = 8192,
    .copy_mib = 2048,
    .small = {12, 12, 64, 16384, 256, 8192, 32, 11},
    .large = {24, 32, 64, 16384, 256, 8192, 32, 11},
    .widest = {64, 62, 64, 16384, 256, 8192, 32, 11},
    .small_batch = 32,
    .large_batch = 16,
    .widest_batch = 2,
    .attention_batch = 8,
    .pictures = 32,
    .hidden = 256,
    .side = 256,
    .clip_pictures = 256,
    .clip_side = 224,
    .clip_layers = 12,
    .candidates = {1, 64, 512},
};
static const struct bench_sizes SMALL = {
    .product = 64,
    .copy_mib = 1,
    .small = {3, 1, 64, 40, 7, 48, 3, 3},
    .large = {4, 2, 64, 40, 7, 48, 3, 3},
    .widest = {5, 2, 64, 40, 7, 48, 3, 3},
    .small_batch = 2,
    .large_batch = 1,
    .widest_batch = 1,
    .attention_batch = 1,
    .pictures = 2,
    .hidden = 8,
    .side = 16,
    .clip_pictures = 2,
    .clip_side = 32,
    .clip_layers = 1,
    .candidates = {1, 2, 3},
};

double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void bench_finish(const struct bench *b)
{
    float value;
    static struct tensor one;
    if (!one.data) {
        one = b->k->alloc(1, F32);
        b->k->fill(one, 0, 1);
    }
    b->k->download(&value, one, 1);
}

double bench_time(const struct bench *b, void (*call)(void *self), void *self)
{
    call(self);
    bench_finish(b);
    double start = bench_now();
    call(self);
    bench_finish(b);
    double one = bench_now() - start;
    int calls = one > 0 && b->seconds / one < 1e4 ? 1 + (int)(b->seconds / one) : 10000;
    start = bench_now();
    for (int i = 0; i < calls; i++)
        call(self);
    bench_finish(b);
    return (bench_now() - start) / calls;
}

int bench_fill(const struct bench *b, struct tensor x, size_t count, float scale, uint64_t key)
{
    size_t part = (size_t)1 << 22;
    struct tensor noise = b->k->alloc(part, F32), other = b->k->alloc(part, F32);
    int status = noise.data && other.data ? 0 : -1;
    for (size_t i = 0; status == 0 && i < count; i += part) {
        size_t n = count - i < part ? count - i : part;
        b->k->gumbel(noise, key, i, n);
        b->k->gumbel(other, ~key, i, n);
        b->k->axpy(noise, -1, other, n);
        b->k->cast(tensor_at(x, i), noise, scale, n);
    }
    b->k->free(noise);
    b->k->free(other);
    return status;
}

int bench_randomise(const struct bench *b, const struct params *p)
{
    for (int i = 0; i < p->count; i++) {
        const struct param *q = &p->list[i];
        if (q->init != INIT_NORMAL)
            b->k->fill(param_value(p, i), q->init == INIT_ZERO ? 0 : q->init == INIT_ONE ? 1 : q->scale, q->count);
        else if (bench_fill(b, param_value(p, i), q->count, q->scale / 1.8f, (uint64_t)i) != 0)
            return -1;
    }
    return 0;
}

double bench_pairs(const struct attention_shape *s)
{
    double pairs = 0;
    for (int i = 0; i < s->states; i++) {
        if (s->mask == MASK_NONE || s->mask == MASK_CAUSAL || i < s->prefix) {
            pairs += s->mask == MASK_NONE ? s->states : i + 1;
            continue;
        }
        int p = i - s->prefix, half = s->kernel / 2, above = p / s->grid;
        pairs += s->prefix;
        if (s->mask == MASK_ROW)
            pairs += (p < s->grid ? p : s->grid) + 1;
        else if (s->mask == MASK_COLUMN)
            pairs += above + 1;
        for (int dr = 0; s->mask == MASK_CONV && dr <= half; dr++)
            for (int dc = -half; dc <= half; dc++) {
                int seen = p - dr * s->grid + dc;
                pairs += seen >= 0 && seen <= p;
            }
    }
    return pairs;
}

void bench_result(const struct bench *b, const char *section, const char *what, ...)
{
    va_list args;
    va_start(args, what);
    printf("%-10s %-34s", section, what);
    if (b->lines)
        fprintf(b->lines, "{\"section\": \"%s\", \"what\": \"%s\"", section, what);
    for (const char *name; (name = va_arg(args, const char *));) {
        double value = va_arg(args, double);
        printf("  %s %.4g", name, value);
        if (b->lines)
            fprintf(b->lines, ", \"%s\": %.6g", name, value);
    }
    printf("\n");
    if (b->lines)
        fprintf(b->lines, "}\n");
    va_end(args);
    fflush(stdout);
}

struct yardstick {
    const struct kernels *k;
    struct tensor a, b, c;
    int size;
    size_t count;
};

static void product(void *self)
{
    struct yardstick *y = self;
    y->k->matmul(y->c, y->a, y->b, y->size, y->size, y->size, false, true, 1, 0);
}

static void copy(void *self)
{
    struct yardstick *y = self;
    y->k->copy(y->b, y->a, y->count);
}

static int measure_device(struct bench *b)
{
    struct yardstick y = {
        .k = b->k, .size = b->sizes->product, .count = (size_t)b->sizes->product * (size_t)b->sizes->product};
    struct tensor *all[] = {&y.a, &y.b, &y.c};
    for (int i = 0; i < 3; i++) {
        *all[i] = b->k->alloc(y.count, BF16);
        if (!all[i]->data || bench_fill(b, *all[i], y.count, 1, (uint64_t)i) != 0)
            return -1;
    }
    b->rate = 2.0 * (double)y.count * y.size / bench_time(b, product, &y);
    for (int i = 0; i < 3; i++)
        b->k->free(*all[i]);
    y.count = (size_t)b->sizes->copy_mib << 18;
    y.a = b->k->alloc(y.count, F32);
    y.b = b->k->alloc(y.count, F32);
    if (!y.a.data || !y.b.data)
        return -1;
    b->k->fill(y.a, 1, y.count);
    b->bandwidth = 8.0 * (double)y.count / bench_time(b, copy, &y);
    b->k->free(y.a);
    b->k->free(y.b);
    return 0;
}

static int bench_device(struct bench *b)
{
    bench_result(b, "device", "bf16 product", "TFLOP/s", b->rate / 1e12, "size", (double)b->sizes->product,
                 (char *)NULL);
    bench_result(b, "device", "copy", "GB/s", b->bandwidth / 1e9, "MiB", (double)b->sizes->copy_mib, (char *)NULL);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(struct bench *b);
    } SECTIONS[] = {
        {"device", bench_device},
        {"train", bench_train},
        {"train-large", bench_train_large},
        {"train-widest", bench_train_widest},
        {"attention", bench_attention},
        {"sample", bench_sample},
        {"dvae", bench_dvae},
        {"clip", bench_clip},
    };
    const char *sizes = getenv("ATELIER_BENCH");
    bool small = sizes && strcmp(sizes, "small") == 0;
    struct bench b = {.k = kernels_open("cuda", BF16), .sizes = small ? &SMALL : &REAL, .seconds = small ? 0 : 0.5};
    if (!b.k) {
        fprintf(stderr, "%s\n", err_text());
        return NO_DEVICE;
    }
    b.lines = argc > 2 ? fopen(argv[2], "a") : NULL;
    int status = measure_device(&b), known = 0;
    for (size_t i = 0; i < sizeof SECTIONS / sizeof *SECTIONS && argc > 1; i++)
        if (status == 0 && strcmp(argv[1], SECTIONS[i].name) == 0) {
            known = 1;
            status = SECTIONS[i].run(&b);
        }
    if (status == 0 && !known)
        status =
            err_set(ERR_USAGE, "usage: bench device|train|train-large|train-widest|attention|sample|dvae|clip [FILE]");
    if (status != 0)
        fprintf(stderr, "bench: %s\n", err_text());
    if (b.lines && fclose(b.lines) != 0)
        return ERR_IO;
    return status == 0 ? 0 : 1;
}
