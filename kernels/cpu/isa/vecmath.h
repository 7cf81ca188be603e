/*
 * exp and log in forms that the compiler turns into vectors, and sums over rows. The polynomials are Cephes's
 * (Moshier); the errors are the largest over all arguments named, measured against double precision.
 */
#ifndef ATELIER_KERNELS_CPU_ISA_VECMATH_H
#define ATELIER_KERNELS_CPU_ISA_VECMATH_H

#include <math.h>
#include <stdint.h>

union float_bits {
    float f;
    int32_t i;
};

/* e^x within 1e-7 of its value; 0 below -87.3 (so of -INFINITY), no larger than e^88; NaN of NaN. */
static inline float fast_exp(float x)
{
    const float ROUND = 12582912;          /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */
    float bounded = x > 88.0f ? 88.0f : x; /* NaN stays */
    union float_bits shifted = {bounded * 1.44269504f + ROUND}, y;
    float n = shifted.f - ROUND, r = bounded - n * 0.693359375f + n * 2.12194440e-4f;
    y.f = 1.9875691500e-4f;
    y.f = y.f * r + 1.3981999507e-3f;
    y.f = y.f * r + 8.3334519073e-3f;
    y.f = y.f * r + 4.1665795894e-2f;
    y.f = y.f * r + 1.6666665459e-1f;
    y.f = y.f * r + 5.0000001201e-1f;
    y.f = y.f * r * r + r + 1;
    y.i += (int32_t)((uint32_t)shifted.i << 23);
    return x < -87.3f ? 0 : y.f;
}

/* ln x of a positive normal x, within 1e-7 of its value or of 1, whichever is larger; 1 gives 0. */
static inline float fast_log(float x)
{
    const int32_t SQRT_HALF = 0x3f3504f3;
    union float_bits bits = {x};
    int32_t e = (bits.i - SQRT_HALF) >> 23;
    bits.i -= (int32_t)((uint32_t)e << 23);
    float f = bits.f - 1, n = (float)e, square = f * f, y = 7.0376836292e-2f;
    y = y * f - 1.1514610310e-1f;
    y = y * f + 1.1676998740e-1f;
    y = y * f - 1.2420140846e-1f;
    y = y * f + 1.4249322787e-1f;
    y = y * f - 1.6668057665e-1f;
    y = y * f + 2.0000714765e-1f;
    y = y * f - 2.4999993993e-1f;
    y = y * f + 3.3333331174e-1f;
    y = y * f * square - n * 2.12194440e-4f - 0.5f * square;
    return f + y + n * 0.693359375f;
}

/* 1 / (1 + e^-x) within 2e-7 of its value, and its derivative likewise: neither is taken as a small difference. */
static inline float fast_sigmoid(float x)
{
    float e = fast_exp(-fabsf(x));
    return (x < 0 ? e : 1) / (1 + e);
}
static inline float fast_sigmoid_slope(float x)
{
    float e = fast_exp(-fabsf(x));
    return e / ((1 + e) * (1 + e));
}

static inline float row_max(const float *x, int n)
{
    float most = -INFINITY;
#pragma omp simd reduction(max : most)
    for (int i = 0; i < n; i++)
        most = x[i] > most ? x[i] : most;
    return most;
}

/* y = e^(x - shift); the result is their sum. In place allowed. */
static inline float row_exp(float *y, const float *x, float shift, int n)
{
    float total = 0;
#pragma omp simd reduction(+ : total)
    for (int i = 0; i < n; i++)
        total += y[i] = fast_exp(x[i] - shift);
    return total;
}

static inline float row_dot(const float *x, const float *y, int n)
{
    float total = 0;
#pragma omp simd reduction(+ : total)
    for (int i = 0; i < n; i++)
        total += x[i] * y[i];
    return total;
}

static inline void row_scale(float *x, float a, int n)
{
    for (int i = 0; i < n; i++)
        x[i] *= a;
}

#endif
