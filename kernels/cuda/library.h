/*
 * What libatelier-cuda.so gives to the program that loads it (kernels/open.c).
 */
#ifndef ATELIER_KERNELS_CUDA_LIBRARY_H
#define ATELIER_KERNELS_CUDA_LIBRARY_H

#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the library takes up on a device beside the tensors: for products (products.cu) and uploads (memory.cu), and
 * for operations of which one needs `bytes` of scratch at most. */
#define CUDA_OWN_BYTES ((size_t)72 << 20)
static inline size_t cuda_scratch_room(size_t bytes)
{
    const size_t unit = 2 << 20;
    return (bytes + bytes / 4 + unit - 1) / unit * unit;
}

/* How many devices there are; 0 where none answers. */
__attribute__((visibility("default"))) int kernels_cuda_count(void);

/* The table of a device, with `compute` F32, BF16 or F16; NULL with err_set. One device a process. table_bytes is
 * sizeof(struct kernels), which tells a library of another version. */
__attribute__((visibility("default"))) const struct kernels *kernels_cuda(int device, enum dtype compute,
                                                                          size_t table_bytes);

#ifdef __cplusplus
}
#endif

#endif
