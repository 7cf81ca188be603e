/*
 * kernels/cuda/mma.h for the emulator.
 */
#ifndef ATELIER_TESTS_EMULATOR_MMA_H
#define ATELIER_TESTS_EMULATOR_MMA_H

#include <cuda_runtime.h>

void mma_bf16(float d[4], const unsigned a[4], const unsigned b[2]);
void mma_f16(float d[4], const unsigned a[4], const unsigned b[2]);
void mma_tf32(float d[4], const unsigned a[4], const unsigned b[2]);
unsigned tf32_round(float x);
float exp2_approximate(float x);
void load_matrices(unsigned r[4], const void *row);
void load_matrices_transposed(unsigned r[4], const void *row);
void copy_async(void *shared, const void *global, bool valid);
static inline void copy_async_near(void *shared, const void *global, bool valid)
{
    copy_async(shared, global, valid);
}
static inline unsigned negative_halves(unsigned x)
{
    return (x >> 15 & 0x10001) * 0xffff;
}
void copy_async_commit(void);
void emulator_copy_async_wait(int groups);
template <int GROUPS> static inline void copy_async_wait(void)
{
    emulator_copy_async_wait(GROUPS);
}

#endif
