/*
 * Vectors spread over a warp's lanes, for attention on plain arithmetic.
 */
#ifndef ATELIER_KERNELS_CUDA_ATTENTION_ANY_H
#define ATELIER_KERNELS_CUDA_ATTENTION_ANY_H

#include "kernels/cuda/attention.h"

#define WIDEST 1024 /* head_dim, as models/prior.c allows */
#define OWN_ELEMENTS (WIDEST / WARP)

/* One vector of a head: element `lane + 32 n` in own[n]. */
__device__ inline void load_own(float own[OWN_ELEMENTS], struct tensor t, size_t at, int width)
{
    for (int n = 0; n * WARP < width; n++) {
        int i = n * WARP + threadIdx.x % WARP;
        own[n] = i < width ? load(t, at + i) : 0;
    }
}

__device__ inline void store_own(struct tensor t, size_t at, int width, const float own[OWN_ELEMENTS], float scale)
{
    for (int n = 0; n * WARP < width; n++) {
        int i = n * WARP + threadIdx.x % WARP;
        if (i < width)
            store(t, at + i, own[n] * scale);
    }
}

__device__ inline float dot_own(const float own[OWN_ELEMENTS], struct tensor t, size_t at, int width)
{
    float sum = 0;
    for (int n = 0; n * WARP < width; n++) {
        int i = n * WARP + threadIdx.x % WARP;
        sum += i < width ? own[n] * load(t, at + i) : 0;
    }
    return warp_sum(sum);
}

__device__ inline void add_own(float own[OWN_ELEMENTS], float a, struct tensor t, size_t at, int width)
{
    for (int n = 0; n * WARP < width; n++) {
        int i = n * WARP + threadIdx.x % WARP;
        own[n] += i < width ? a * load(t, at + i) : 0;
    }
}

/* A softmax kept online, times the values that its weights belong to. */
struct online {
    float o[OWN_ELEMENTS], most, total;
};

__device__ inline void online_begin(struct online *m, int width)
{
    for (int n = 0; n * WARP < width; n++)
        m->o[n] = 0;
    m->most = -INFINITY;
    m->total = 0;
}

__device__ inline void online_add(struct online *m, float score, struct tensor values, size_t at, int width)
{
    float most = fmaxf(m->most, score), keep = expf(m->most - most), weight = expf(score - most);
    for (int n = 0; n * WARP < width; n++)
        m->o[n] *= keep;
    add_own(m->o, weight, values, at, width);
    m->total = m->total * keep + weight;
    m->most = most;
}

#endif
