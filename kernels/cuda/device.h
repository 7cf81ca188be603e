/*
 * What the CUDA kernels share: the device, launches, shared memory, loads and stores of any type, reductions.
 *
 * A file a theme, as in kernels/cpu; each puts its operations into the table. Kernels take tensors as they are and
 * switch on their types at run time, eight elements at a time, so one kernel serves all types; the switch is uniform.
 * Sums are split at places that the shapes alone fix, and nothing adds floats atomically: results are deterministic.
 * The same sources are compiled for tests/emulator, where LAUNCH and shared_memory come from its headers.
 */
#ifndef ATELIER_KERNELS_CUDA_DEVICE_H
#define ATELIER_KERNELS_CUDA_DEVICE_H

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

extern "C" {
#include "common/err.h"
#define RANDOM_INLINE static inline __host__ __device__
#include "common/random.h"
#include "kernels/kernels.h"
}

void cuda_memory(struct kernels *k);
void cuda_replay(struct kernels *k);
void cuda_elementwise(struct kernels *k);
void cuda_products(struct kernels *k);
void cuda_pictures(struct kernels *k);
void cuda_normalisation(struct kernels *k);
void cuda_embedding(struct kernels *k);
void cuda_losses(struct kernels *k);
void cuda_relaxation(struct kernels *k);
void cuda_draw(struct kernels *k);
void cuda_optimizer(struct kernels *k);
void cuda_attention(struct kernels *k);
void cuda_attention_backward(struct kernels *k);
void cuda_attention_step(struct kernels *k);
void cuda_convolution(struct kernels *k);

/* The one stream that all work goes through, in order. */
extern cudaStream_t device_stream;

/* Whether anything was ever recorded. */
extern bool device_recorded;

/* Memory for one operation, 256-byte aligned: the next call of device_scratch takes it back. */
void *device_scratch(size_t bytes);

/* dx [n] += scale times the column sums of x [rows, n], by way of scratch. */
void device_add_column_sums(struct tensor dx, struct tensor x, size_t rows, size_t n, float scale);

/* The same of a few rows of floats, `stride` apart, in order. */
void device_add_parts(struct tensor dx, const float *sums, int parts, size_t n, size_t stride, float scale);

/* y = a x in y's type; zeros where that is not finite, if `finite` is asked for. */
void device_convert(struct tensor y, struct tensor x, float a, size_t n);

/* kernels.h's axpy, argmax, act and act_backward. */
void device_axpy(struct tensor y, float a, struct tensor x, size_t n);
void device_argmax(struct tensor ids, struct tensor x, int rows, int classes);
void device_act(enum activation kind, struct tensor y, struct tensor x, size_t n);
void device_act_backward(enum activation kind, struct tensor dx, struct tensor dy, struct tensor x, size_t n);

/* Ends the program where a call failed: a device does not recover from it. */
void device_check(cudaError_t e, const char *what);

#ifdef CUDA_EMULATOR
#define LAUNCH(kernel, grid, block, shared, stream, ...)                                                               \
    emulator_launch(#kernel, kernel, grid, block, shared, stream, __VA_ARGS__)
#define shared_memory emulator_shared
#else
/* Runs a kernel; `shared` bytes of dynamic shared memory (of which there is one array alone, shared_memory()), allowed
 * beforehand with device_allow_shared where they are more than 48 KiB. A template's name goes in parentheses. */
#define LAUNCH(kernel, grid, block, shared, stream, ...)                                                               \
    do {                                                                                                               \
        kernel<<<grid, block, shared, stream>>>(__VA_ARGS__);                                                          \
        device_check(cudaGetLastError(), #kernel);                                                                     \
    } while (0)
__device__ inline unsigned char *shared_memory(void)
{
    extern __shared__ __align__(128) unsigned char shared_bytes[];
    return shared_bytes;
}
#endif

/* Before a launch with more than 48 KiB of shared memory; cheap enough to be said each time. */
template <class Kernel> static inline void device_allow_shared(Kernel *kernel, size_t bytes)
{
    device_check(cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes),
                 "shared memory");
}

static inline unsigned blocks_for(size_t n, size_t per_block)
{
    return (unsigned)((n + per_block - 1) / per_block);
}

/* One thread for EACH consecutive elements. */
enum { EACH = 8, THREADS = 256, WARP = 32 };

/* Threads of a block that takes a row of n elements: whole warps, no more than have work. */
static inline unsigned row_threads(size_t n)
{
    unsigned threads = blocks_for(n, WARP * EACH) * WARP;
    return threads < THREADS ? threads : (unsigned)THREADS;
}

__device__ inline size_t global_thread(void)
{
    return blockIdx.x * (size_t)blockDim.x + threadIdx.x;
}

struct floats8 {
    float v[EACH];
};

/* M16 and V16 (kernels.h): a float's bits with fewer of the significand and another bias. */
enum { MOMENT_BIAS = 60, MOMENT_EXPONENTS = 64 };

__device__ inline float moment_to_float(unsigned bits, int significand)
{
    unsigned magnitude = bits & ((MOMENT_EXPONENTS << significand) - 1);
    /* The float of the same fields is small by a power of two, for subnormals too. */
    float x = __uint_as_float(magnitude << (23 - significand)) * __uint_as_float((2 * 127 - MOMENT_BIAS) << 23);
    return bits >> (significand + 6) ? -x : x;
}

/* To the nearest, ties to even; too large saturates; NaN is kept as zero. */
__device__ inline unsigned moment_from_float(float x, int significand)
{
    unsigned largest = (MOMENT_EXPONENTS << significand) - 1, drop = 23 - significand;
    float scaled = fabsf(x) * __uint_as_float((unsigned)MOMENT_BIAS << 23); /* 2^(60 - 127) */
    unsigned bits = __float_as_uint(scaled);
    unsigned rounded = (bits + (1u << (drop - 1)) - 1 + (bits >> drop & 1)) >> drop;
    unsigned magnitude = scaled != scaled ? 0 : min(rounded, largest);
    return significand == 9 && x < 0 ? magnitude | 1u << 15 : magnitude;
}

/* One 16-bit element. */
__device__ inline float from_bits(enum dtype dtype, unsigned bits)
{
    switch (dtype) {
    case BF16:
        return __uint_as_float(bits << 16);
    case F16:
        return __half2float(__ushort_as_half((unsigned short)bits));
    case M16:
        return moment_to_float(bits, 9);
    default:
        return moment_to_float(bits, 10);
    }
}

__device__ inline unsigned to_bits(enum dtype dtype, float x)
{
    switch (dtype) {
    case BF16:
        return __bfloat16_as_ushort(__float2bfloat16_rn(x));
    case F16:
        return __half_as_ushort(__float2half_rn(x));
    case M16:
        return moment_from_float(x, 9);
    default:
        return moment_from_float(x, 10);
    }
}

/* Element i of a tensor of floats of any type. */
__device__ inline float load(struct tensor t, size_t i)
{
    return t.dtype == F32 ? ((const float *)t.data)[i] : from_bits(t.dtype, ((const unsigned short *)t.data)[i]);
}

__device__ inline void store(struct tensor t, size_t i, float x)
{
    if (t.dtype == F32)
        ((float *)t.data)[i] = x;
    else
        ((unsigned short *)t.data)[i] = (unsigned short)to_bits(t.dtype, x);
}

__host__ __device__ inline bool aligned16(const void *p)
{
    return ((uintptr_t)p & 15) == 0;
}

/* Elements i .. i + 7, of those before n (zeros for the others). */
__device__ inline struct floats8 load8(struct tensor t, size_t i, size_t n)
{
    struct floats8 x;
    const char *p = (const char *)t.data + i * (t.dtype == F32 ? 4 : 2);
    if (i + EACH > n || !aligned16(p)) {
        for (int j = 0; j < EACH; j++)
            x.v[j] = i + j < n ? load(t, i + j) : 0;
    } else if (t.dtype == F32) {
        float4 low = ((const float4 *)p)[0], high = ((const float4 *)p)[1];
        x = {{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
    } else {
        uint4 pairs = *(const uint4 *)p;
        unsigned pair[] = {pairs.x, pairs.y, pairs.z, pairs.w};
        for (int j = 0; j < 4; j++) {
            x.v[2 * j] = from_bits(t.dtype, pair[j] & 0xffff);
            x.v[2 * j + 1] = from_bits(t.dtype, pair[j] >> 16);
        }
    }
    return x;
}

__device__ inline void store8(struct tensor t, size_t i, size_t n, const struct floats8 &x)
{
    char *p = (char *)t.data + i * (t.dtype == F32 ? 4 : 2);
    if (i + EACH > n || !aligned16(p)) {
        for (int j = 0; j < EACH; j++)
            if (i + j < n)
                store(t, i + j, x.v[j]);
    } else if (t.dtype == F32) {
        ((float4 *)p)[0] = make_float4(x.v[0], x.v[1], x.v[2], x.v[3]);
        ((float4 *)p)[1] = make_float4(x.v[4], x.v[5], x.v[6], x.v[7]);
    } else {
        unsigned pair[4];
        for (int j = 0; j < 4; j++)
            pair[j] = to_bits(t.dtype, x.v[2 * j]) | to_bits(t.dtype, x.v[2 * j + 1]) << 16;
        *(uint4 *)p = make_uint4(pair[0], pair[1], pair[2], pair[3]);
    }
}

/* A row of a matrix as a tensor of its own. */
__device__ inline struct tensor row_of(struct tensor t, size_t row, size_t width)
{
    t.data = (char *)t.data + row * width * (t.dtype == F32 || t.dtype == I32 ? 4 : 2);
    return t;
}

/* Reductions whose result all lanes, or all threads of the block, get. `room`: 32 elements of shared memory. */
template <class T> __device__ inline T warp_sum(T x)
{
    for (int bits = WARP / 2; bits; bits /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, bits);
    return x;
}

template <class T> __device__ inline T warp_max(T x)
{
    for (int bits = WARP / 2; bits; bits /= 2)
        x = max(x, __shfl_xor_sync(0xffffffffu, x, bits));
    return x;
}

template <class T> __device__ inline T block_sum(T x, T *room)
{
    int lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    x = warp_sum(x);
    __syncthreads(); /* room may hold the last reduction */
    if (lane == 0)
        room[threadIdx.x / WARP] = x;
    __syncthreads();
    return warp_sum(lane < warps ? room[lane] : 0);
}

/* `least`: no more than any value. */
template <class T> __device__ inline T block_max(T x, T least, T *room)
{
    int lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    x = warp_max(x);
    __syncthreads();
    if (lane == 0)
        room[threadIdx.x / WARP] = x;
    __syncthreads();
    return warp_max(lane < warps ? room[lane] : least);
}

#endif
