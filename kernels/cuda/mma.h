/*
 * Tensor cores and the moves of data that go with them: one function an instruction of PTX ISA (sm_80). All lanes of a
 * warp call each together, but for copies and conversions. Fragments, g being lane / 4 and t lane % 4; a register of
 * two 16-bit elements has that of the lower column (of b: row) in its lower half: m16n8k16:  a[0..3]: rows g, g + 8, g,
 * g + 8 at columns 2t, 2t + 1 (a[0], a[1]) and 2t + 8, 2t + 9 (a[2], a[3]) b[0..1]: rows 2t, 2t + 1 and 2t + 8, 2t + 9
 * of column g m16n8k8:   a[0..3]: rows g, g + 8, g, g + 8 at columns t (a[0], a[1]) and t + 4; b[0..1]: rows t, t + 4
 * of column g both:      d[0..3]: row g at columns 2t, 2t + 1, row g + 8 likewise
 */
#ifndef ATELIER_KERNELS_CUDA_MMA_H
#define ATELIER_KERNELS_CUDA_MMA_H

#include <cuda_runtime.h>
#ifdef CUDA_EMULATOR
#include "emulator_mma.h"
#else

/* d += a b, bf16. */
__device__ inline void mma_bf16(float d[4], const unsigned a[4], const unsigned b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* d += a b, fp16. */
__device__ inline void mma_f16(float d[4], const unsigned a[4], const unsigned b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* d += a b, the bits of floats that tf32_round has rounded. */
__device__ inline void mma_tf32(float d[4], const unsigned a[4], const unsigned b[2])
{
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* To ten bits of fraction, the nearest. */
__device__ inline unsigned tf32_round(float x)
{
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}

/* 2 to the power of x, to two units in the last place; what would be subnormal is 0. */
__device__ inline float exp2_approximate(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Four 8x8 matrices of 16-bit elements from shared memory: lane 8 i + j gives the address of row j of matrix i (16
 * bytes, aligned). r[i]: row g, columns 2t and 2t + 1 of matrix i. */
__device__ inline void load_matrices(unsigned r[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
}

/* The same of the transposed matrices: r[i]: rows 2t and 2t + 1, column g of matrix i. */
__device__ inline void load_matrices_transposed(unsigned r[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
}

/* 16 bytes from global to shared memory, both aligned; zeros, and nothing read, where not `valid`. They are there for
 * the thread that copied after copy_async_wait, for others after a barrier then. */
__device__ inline void copy_async(void *shared, const void *global, bool valid)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((unsigned)__cvta_generic_to_shared(shared)),
                 "l"(__cvta_generic_to_global(global)), "r"(valid ? 16 : 0)
                 : "memory");
}

/* copy_async of what is soon read again: by way of the nearest cache. */
__device__ inline void copy_async_near(void *shared, const void *global, bool valid)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"((unsigned)__cvta_generic_to_shared(shared)),
                 "l"(__cvta_generic_to_global(global)), "r"(valid ? 16 : 0)
                 : "memory");
}

/* All bits of those halves of x whose highest is set. */
__device__ inline unsigned negative_halves(unsigned x)
{
    unsigned bits;
    asm("prmt.b32 %0, %1, 0, 0xbb99;" : "=r"(bits) : "r"(x));
    return bits;
}

/* Ends a group of copies. */
__device__ inline void copy_async_commit(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits for all groups but the last GROUPS. */
template <int GROUPS> __device__ inline void copy_async_wait(void)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
}

#endif
#endif
