/*
 * Kernels for the emulator's own tests (faults.h).
 */
#include "faults.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/mma.h"

const char *const FAULT_MESSAGES[FAULTS] = {
    "fault_kernel, block (0, 0, 0), thread (5, 0, 0): writes to byte 256 of an allocation of 256 bytes",
    "writes to byte -4096 of an allocation of 256 bytes",
    "something has written to byte 250 of 250 bytes of device memory",
    "thread (0, 0, 0): reads byte 256 of an allocation of 256 bytes",
    "thread (63, 0, 0): writes to byte 256 of 256 bytes of shared memory",
    "thread (1, 0, 0): ends while others wait at a barrier",
    "which not all threads reach|waits at the barrier of",
    "thread (0, 0, 0): waits in __syncwarp with mask ffffffff for lane 1, which waits at a barrier",
    "thread (0, 0, 0): waits in __shfl_xor_sync with mask ffffffff for lane 7, which has ended|but lane 7 has ended",
    "lane 4 shuffles from lane 0, which is not in mask fffffff0",
    "the guard of its stack",
    "a grid of 1 x 70000 x 1",
    "is launched with 60000 bytes of shared memory",
    "ends before its cp.async were waited for",
    "thread (63, 0, 0): reads byte 124 of shared memory, which thread 31 has written, with no barrier between",
    "thread (31, 0, 0): writes byte 0 of shared memory, which other threads have read, with no barrier between",
    "thread (31, 0, 0): reads byte 120 of shared memory, which thread 30 has written, with no barrier between",
    "thread (4, 0, 0): writes byte 64 of shared memory, which thread 63 has read, with no barrier between",
};

static __device__ int endless(volatile int *p, int n)
{
    volatile int here[512];
    here[n & 511] = n;
    return n < 0 ? 0 : endless(here, n + 1) + here[n & 511] + p[0];
}

static __global__ void fault_kernel(enum fault fault, float *x)
{
    auto *shared = (float *)shared_memory();
    int i = threadIdx.x;
    float value = 1;
    switch (fault) {
    case FAULT_WRITE_BEHIND:
        if (i == 5)
            x[64] = value;
        break;
    case FAULT_WRITE_BEFORE:
        if (i == 5)
            x[-1024] = value;
        break;
    case FAULT_WRITE_NEAR:
        if (i == 5)
            ((char *)x)[250] = 1;
        break;
    case FAULT_READ_BEHIND:
        x[0] = x[64 + i];
        break;
    case FAULT_SHARED_BEHIND:
        shared[i + 1] = value;
        break;
    case FAULT_BARRIER_EXIT:
        if (i != 1)
            __syncthreads();
        break;
    case FAULT_BARRIER_OTHER:
        if (i < 32)
            __syncthreads();
        else
            __syncthreads();
        break;
    case FAULT_BARRIER_WARP:
        if (i == 0)
            __syncwarp();
        else
            __syncthreads();
        break;
    case FAULT_SHUFFLE_ABSENT:
        if (i != 7)
            x[i] = __shfl_xor_sync(0xffffffffu, value, 1);
        break;
    case FAULT_SHUFFLE_OUTSIDE:
        if (i >= 4 && i < 32)
            x[i] = __shfl_xor_sync(0xfffffff0u, value, 4);
        break;
    case FAULT_STACK:
        x[i] = (float)endless(&i, 0);
        break;
    case FAULT_COPY_NOT_WAITED:
        copy_async(shared + 4 * (i % 16), x, true);
        copy_async_commit();
        break;
    case FAULT_READ_UNORDERED:
        if (i < 32)
            shared[i] = value;
        __syncwarp();
        if (i >= 32)
            x[i] = shared[i - 32];
        break;
    case FAULT_WRITE_UNORDERED:
        shared[i] = value;
        __syncthreads();
        x[i] = shared[0];
        if (i == 31)
            shared[0] = 2;
        break;
    case FAULT_SHUFFLE_ORDERS:
        shared[i] = value;
        __shfl_xor_sync(0xffffffffu, value, 1);
        x[i] = shared[i ^ 1];
        break;
    case FAULT_COPY_UNORDERED:
        __syncthreads();
        if (i < 16)
            copy_async(shared + 4 * i, x + 4 * i, true);
        copy_async_commit();
        copy_async_wait<0>();
        if (i >= 32)
            x[0] = shared[16];
        break;
    default:
        break;
    }
}

void fault_commit(enum fault fault)
{
    float *x;
    cudaMalloc(&x, fault == FAULT_WRITE_NEAR ? 250 : 256);
    LAUNCH(fault_kernel, dim3(1, fault == FAULT_GRID ? 70000 : 1), 64, fault == FAULT_SHARED_TOO_MUCH ? 60000 : 256,
           (cudaStream_t)0, fault, x);
    cudaFree(x);
}

static __global__ void undefined_kernel(float *out, const float *zeros, int which)
{
    auto *shared = (float *)shared_memory();
    int i = threadIdx.x;
    if (which == 0) {
        shared[i] = i == 17 ? shared[i] : 1;
        __syncthreads();
        out[i] = shared[63 - i];
    } else {
        copy_async(shared + 4 * i, zeros + 4 * i, true);
        copy_async_commit();
        out[i] = shared[4 * i];
        copy_async_wait<0>();
    }
}

static float undefined(int which)
{
    float *x, *zeros, sum = 0;
    cudaMalloc(&x, 64 * sizeof *x);
    cudaMalloc(&zeros, 256 * sizeof *x);
    cudaMemsetAsync(zeros, 0, 256 * sizeof *x, 0);
    LAUNCH(undefined_kernel, 1, 64, 1024, (cudaStream_t)0, x, (const float *)zeros, which);
    for (int i = 0; i < 64; i++)
        sum += x[i];
    cudaFree(x);
    cudaFree(zeros);
    return sum;
}

float fault_sum_of_shared(void)
{
    return undefined(0);
}

float fault_copy_without_wait(void)
{
    return undefined(1);
}

/* Elements are small whole numbers, so products and sums are exact in every type. */
static float element(int matrix, int row, int column)
{
    return (float)((matrix * 7 + row * 5 + column * 3 + row * column) % 11 - 5);
}

static unsigned pair(int kind, float low, float high)
{
    enum dtype type = kind == 0 ? BF16 : F16;
    return to_bits(type, low) | to_bits(type, high) << 16;
}

static __global__ void mma_kernel(float *out, int kind)
{
    int lane = threadIdx.x, g = lane / 4, t = lane % 4;
    unsigned a[4], b[2];
    float d[4] = {1, 1, 1, 1};
    for (int i = 0; i < 4; i++) {
        int row = g + (i & 1) * 8, half = i / 2;
        a[i] = kind == 2 ? tf32_round(element(0, row, t + 4 * half))
                         : pair(kind, element(0, row, 2 * t + 8 * half), element(0, row, 2 * t + 1 + 8 * half));
    }
    for (int i = 0; i < 2; i++)
        b[i] = kind == 2 ? tf32_round(element(1, t + 4 * i, g))
                         : pair(kind, element(1, 2 * t + 8 * i, g), element(1, 2 * t + 1 + 8 * i, g));
    if (kind == 0)
        mma_bf16(d, a, b);
    else if (kind == 1)
        mma_f16(d, a, b);
    else
        mma_tf32(d, a, b);
    for (int i = 0; i < 4; i++)
        out[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
}

float mma_error(int kind)
{
    float *out, worst = 0;
    cudaMalloc(&out, 128 * sizeof *out);
    LAUNCH(mma_kernel, 1, 32, 0, (cudaStream_t)0, out, kind);
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 8; j++) {
            float sum = 1;
            for (int k = 0; k < (kind == 2 ? 8 : 16); k++)
                sum += element(0, i, k) * element(1, k, j);
            worst = fmaxf(worst, fabsf(out[i * 8 + j] - sum));
        }
    cudaFree(out);
    return worst;
}

static __global__ void load_kernel(unsigned *out, int transposed)
{
    auto *shared = (unsigned short *)shared_memory();
    int lane = threadIdx.x;
    for (int i = lane; i < 256; i += 32)
        shared[i] = (unsigned short)i; /* row j of matrix m: 64 m + 8 j .. */
    __syncthreads();
    unsigned r[4];
    if (transposed)
        load_matrices_transposed(r, shared + 8 * lane);
    else
        load_matrices(r, shared + 8 * lane);
    for (int m = 0; m < 4; m++)
        out[4 * lane + m] = r[m];
}

int load_matrices_errors(int transposed)
{
    unsigned *out;
    int wrong = 0;
    cudaMalloc(&out, 128 * sizeof *out);
    LAUNCH(load_kernel, 1, 32, 512, (cudaStream_t)0, out, transposed);
    for (int lane = 0; lane < 32; lane++)
        for (int m = 0; m < 4; m++)
            for (int half = 0; half < 2; half++) {
                int g = lane / 4, at = lane % 4 * 2 + half;
                unsigned expected = (unsigned)(64 * m + (transposed ? 8 * at + g : 8 * g + at));
                wrong += (out[4 * lane + m] >> 16 * half & 0xffff) != expected;
            }
    cudaFree(out);
    return wrong;
}

static __global__ void warp_kernel(int *wrong)
{
    int lane = threadIdx.x % 32;
    unsigned low = 0x0000ffff;
    int errors = __shfl_sync(0xffffffffu, lane, 5) != 5;
    errors += __shfl_down_sync(0xffffffffu, lane, 3) != (lane < 29 ? lane + 3 : lane);
    errors += __shfl_up_sync(0xffffffffu, lane, 3) != (lane < 3 ? lane : lane - 3);
    errors += __shfl_xor_sync(0xffffffffu, lane, 8, 16) != (lane ^ 8);
    errors += __shfl_sync(0xffffffffu, 1.5 * lane, 1, 8) != 1.5 * (lane / 8 * 8 + 1);
    errors += __ballot_sync(0xffffffffu, lane % 3 == 0) != 0x49249249;
    if (lane < 16)
        errors += __all_sync(low, lane < 16) != 1 || __any_sync(low, lane == 20) != 0;
    errors += __syncthreads_count(lane == 1) != (int)blockDim.x / 32;
    atomicAdd(wrong, errors);
}

int votes_and_shuffles_errors(void)
{
    int *wrong, result;
    cudaMalloc(&wrong, sizeof *wrong);
    cudaMemsetAsync(wrong, 0, sizeof *wrong, 0);
    LAUNCH(warp_kernel, 2, 96, 0, (cudaStream_t)0, wrong);
    result = *wrong;
    cudaFree(wrong);
    return result;
}
