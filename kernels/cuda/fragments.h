/*
 * Operands and results of tensor cores, as kernels that multiply 16-bit floats hold them.
 */
#ifndef ATELIER_KERNELS_CUDA_FRAGMENTS_H
#define ATELIER_KERNELS_CUDA_FRAGMENTS_H

#include "kernels/cuda/device.h"
#include "kernels/cuda/mma.h"

/* The 16-bit types. */
struct bf16 {
    static constexpr enum dtype dtype = BF16;
    static __device__ inline void mma(float d[4], const unsigned a[4], const unsigned b[2])
    {
        mma_bf16(d, a, b);
    }
    static __device__ inline unsigned pack(float low, float high)
    {
        return __bfloat16_as_ushort(__float2bfloat16_rn(low)) |
               (unsigned)__bfloat16_as_ushort(__float2bfloat16_rn(high)) << 16;
    }
};
struct f16 {
    static constexpr enum dtype dtype = F16;
    static __device__ inline void mma(float d[4], const unsigned a[4], const unsigned b[2])
    {
        mma_f16(d, a, b);
    }
    static __device__ inline unsigned pack(float low, float high)
    {
        return __half_as_ushort(__float2half_rn(low)) | (unsigned)__half_as_ushort(__float2half_rn(high)) << 16;
    }
};

/* What a thread holds of the warp's 16 rows: rows lane / 4 and lane / 4 + 8 (elements 0, 1 and 2, 3 of an accumulator),
 * columns 8 n + lane % 4 * 2 and the next. Element e's row and column: */
__device__ inline int own_row(int e)
{
    return threadIdx.x % WARP / 4 + e / 2 * 8;
}
__device__ inline int own_column(int n, int e)
{
    return 8 * n + threadIdx.x % 4 * 2 + e % 2;
}

#endif
