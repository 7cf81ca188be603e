/*
 * A row's softmax, and its largest element, by one block.
 */
#ifndef ATELIER_KERNELS_CUDA_SOFTMAX_H
#define ATELIER_KERNELS_CUDA_SOFTMAX_H

#include "kernels/cuda/device.h"

/* softmax(x)[i] = exp(x[i] - most) / total. */
struct softmax {
    float most, total;
};

__device__ inline float softmax_value(const struct softmax *s, float x)
{
    return expf(x - s->most) / s->total;
}

/* Of x [classes], by all threads of the block; `room`: 32 floats of shared memory. With noise [classes], of
 * (x + noise) / tau. */
__device__ inline struct softmax softmax_of(struct tensor x, const float *noise, float tau, size_t classes, float *room)
{
    float most = -INFINITY, total = 0;
    for (size_t i = threadIdx.x * (size_t)EACH; i < classes; i += blockDim.x * (size_t)EACH) {
        struct floats8 v = load8(x, i, classes);
        float before = most;
        if (noise) {
            struct floats8 more = load8({(void *)noise, F32}, i, classes);
            for (int j = 0; j < EACH; j++)
                v.v[j] = (v.v[j] + more.v[j]) / tau;
        }
        for (int j = 0; j < EACH && i + j < classes; j++)
            most = fmaxf(most, v.v[j]);
        if (most == -INFINITY)
            continue; /* nothing yet that counts */
        total *= expf(before - most);
        for (int j = 0; j < EACH && i + j < classes; j++)
            total += expf(v.v[j] - most);
    }
    float all = block_max(most, -INFINITY, room);
    return {all, block_sum(total == 0 ? 0 : total * expf(most - all), room)};
}

/* An order of floats in unsigned numbers, -0 and 0 alike, NaN below all; the first of equals is above the others. */
__device__ inline unsigned long long order_of(float x, size_t place)
{
    unsigned bits = __float_as_uint(x + 0.0f), order = bits >> 31 ? ~bits : bits | 1u << 31;
    return (unsigned long long)(x != x ? 0 : order) << 32 | (0xffffffffu - (unsigned)place);
}

/* The first of the largest elements of x, as all threads get to know; `room`: 32 elements of shared memory. */
__device__ inline int first_largest(struct tensor x, size_t classes, unsigned long long *room)
{
    unsigned long long best = 0;
    for (size_t i = threadIdx.x * (size_t)EACH; i < classes; i += blockDim.x * (size_t)EACH) {
        struct floats8 v = load8(x, i, classes);
        for (int j = 0; j < EACH && i + j < classes; j++)
            best = max(best, order_of(v.v[j], i + j));
    }
    best = block_max(best, 0ull, room);
    float first = load(x, 0);
    return first != first ? 0 : (int)(0xffffffffu - (unsigned)best);
}

#endif
