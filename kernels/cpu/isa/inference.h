/*
 * What the convolutions of inference share (inference.c): how a result is put into the picture.
 */
#ifndef ATELIER_KERNELS_CPU_ISA_INFERENCE_H
#define ATELIER_KERNELS_CPU_ISA_INFERENCE_H

#include "kernels/cpu/isa/fast.h"
#include <immintrin.h>

typedef float lanes __attribute__((vector_size(4 * VEC), aligned(4), may_alias));

/* max(x, 0); of NaN 0, as the activation's. */
static inline lanes positive(lanes x)
{
#ifdef __AVX512F__
    return (lanes)_mm512_max_ps((__m512)x, _mm512_setzero_ps());
#else
    return (lanes)_mm256_max_ps((__m256)x, _mm256_setzero_ps());
#endif
}

static inline void fuse(float *y, lanes result, const struct conv_fusion *f)
{
    if (f->gain != 0)
        result = *(const lanes *)y + f->gain * result;
    *(lanes *)y = f->relu_out ? positive(result) : result;
}

/* 1x1 convolutions (pointwise.c). to: pack_size(in, out) floats. */
void FN(pointwise_pack)(float *to, const float *w, int in, int out);
void FN(pointwise)(float *y, const float *x, const float *packed, const float *bias, const struct conv_shape *s,
                   const struct conv_fusion *f);
void FN(pointwise_argmax)(int32_t *ids, const float *x, const float *packed, const float *bias,
                          const struct conv_shape *s);

/* 3x3 convolutions by Winograd's method (winograd.c): whether a shape is one for it, the floats of its weights, these
 * from [out, in, 3, 3] (turned: from [in, out, 3, 3], for the way back), the floats of scratch memory for each thread,
 * and the convolution. */
bool FN(winograd_suits)(const struct conv_shape *s);
size_t FN(winograd_size)(const struct conv_shape *s);
void FN(winograd_pack)(float *to, const float *w, const struct conv_shape *s, bool turned);
size_t FN(winograd_scratch)(void);
void FN(winograd)(float *y, const float *x, const float *packed, const float *bias, const struct conv_shape *s,
                  const struct conv_fusion *f, const struct scratch *scratch);

/* Any kernel, directly (convolution.c). to: pack_size(kernel * kernel * in, out) floats. */
void FN(direct_pack)(float *to, const float *w, const struct conv_shape *s);
void FN(direct)(float *y, const float *x, const float *panels, const float *bias, const struct conv_shape *s,
                const struct conv_fusion *f);

#endif
