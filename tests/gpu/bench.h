/*
 * What the sections of the benchmarks on a GPU share: the table, its clock, random weights and the results' file.
 */
#ifndef ATELIER_TESTS_GPU_BENCH_H
#define ATELIER_TESTS_GPU_BENCH_H

#include "kernels/kernels.h"
#include "models/params.h"
#include "models/prior.h"

#include <stdio.h>

struct bench {
    const struct kernels *k;
    const struct bench_sizes *sizes;
    double seconds;   /* what a measurement may take */
    double rate;      /* multiplications and additions a second, of a large bf16 product */
    double bandwidth; /* bytes read and written a second, of a large copy */
    FILE *lines;      /* one JSON object a result */
};

/* The real sizes, and small ones with which every line runs on the emulator. */
struct bench_sizes {
    int product, copy_mib;
    struct prior_config small, large, widest; /* widest: of as many layers as there is memory for */
    int small_batch, large_batch, widest_batch;
    int attention_batch;
    int pictures, hidden, side; /* of the dVAE */
    int clip_pictures, clip_side, clip_layers;
    int candidates[3];
};

double bench_now(void);
/* Waits for what was asked of the device. */
void bench_finish(const struct bench *b);
/* Mean seconds of call(self): called once to warm up, then for b->seconds. */
double bench_time(const struct bench *b, void (*call)(void *self), void *self);

/* Logistic draws of deviation 1.8 `scale`, made on the device. 0 or -1. */
int bench_fill(const struct bench *b, struct tensor x, size_t count, float scale, uint64_t key);
/* Random weights; gains are one, biases zero. 0 or -1. */
int bench_randomise(const struct bench *b, const struct params *p);

/* Pairs of states under a mask, of one head. */
double bench_pairs(const struct attention_shape *s);

/* A line of the table, and a JSON object of the section, what was measured, and pairs of a name and a number up to
 * NULL. */
void bench_result(const struct bench *b, const char *section, const char *what, ...);

/* Sections: 0, or -1 with an error. */
int bench_train(struct bench *b);
int bench_train_large(struct bench *b);
int bench_train_widest(struct bench *b);
int bench_attention(struct bench *b);
int bench_sample(struct bench *b);
int bench_dvae(struct bench *b);
int bench_clip(struct bench *b);

#endif
