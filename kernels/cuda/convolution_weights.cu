/*
 * The gradient of a convolution's weights on tensor cores: dw [out, taps * channels] = dy^T x, the sum going over
 * pixels, which are cut into parts that blocks of their own add up; nothing is added atomically. x is gathered as in
 * convolution.cu.
 */
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/fragments.h"

namespace
{
enum { OUTS = 128, COLUMNS = 128, PIXELS = 32, STAGES = 3, WARPS = 8, TILE_ROW = 128 + 8 };
enum { WARP_OUTS = 32, WARP_COLUMNS = 64, M = WARP_OUTS / 16, N = WARP_COLUMNS / 8 };
enum { STAGE_ELEMENTS = 2 * PIXELS * TILE_ROW };
enum { PIECES = 128 / PIECE, ROWS_AT_ONCE = WARPS * WARP / PIECES };

struct operands {
    struct convolution c;
    const unsigned short *dy;
    int outs; /* of dy: c.out rounded up to pieces */
    int part; /* pixels */
};

/* Stage: [PIXELS, OUTS] of dy, then [PIXELS, COLUMNS] of the gathered x. */
__device__ inline void fetch(unsigned short *stage, const struct operands &o, int out, int column, int first, int end)
{
    const struct convolution &c = o.c;
    int piece = threadIdx.x % PIECES * PIECE, k = column + piece, tap = k / c.channels, channel = k % c.channels;
    for (int row = threadIdx.x / PIECES; row < PIXELS; row += ROWS_AT_ONCE) {
        int pixel = first + row, distance;
        unsigned short *to = stage + row * TILE_ROW + piece;
        bool valid = pixel < end && out + piece < o.outs;
        copy_async(to, o.dy + (valid ? (size_t)pixel * o.outs + out + piece : 0), valid);
        valid = pixel < end && k < depth_of(c) &&
                tap_distance(c, pixel / c.width % c.height, pixel % c.width, tap, &distance);
        copy_async(to + PIXELS * TILE_ROW,
                   (const unsigned short *)c.x.data + (valid ? (size_t)(pixel + distance) * c.channels + channel : 0),
                   valid);
    }
}

template <class T> __device__ __forceinline__ void multiply_stage(float r[M][N][4], const unsigned short *stage)
{
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const unsigned short *dy = stage + (lane / 16 * 8 + lane % 8) * TILE_ROW + warp / 2 * WARP_OUTS + lane / 8 % 2 * 8;
    const unsigned short *x = stage + (PIXELS + lane % 16) * TILE_ROW + warp % 2 * WARP_COLUMNS + lane / 16 * 8;
#pragma unroll
    for (int k = 0; k < PIXELS; k += 16) {
        unsigned a[M][4];
#pragma unroll
        for (int m = 0; m < M; m++)
            load_matrices_transposed(a[m], dy + k * TILE_ROW + 16 * m);
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            unsigned b[4];
            load_matrices_transposed(b, x + k * TILE_ROW + 8 * n);
#pragma unroll
            for (int m = 0; m < M; m++) {
                T::mma(r[m][n], a[m], b);
                T::mma(r[m][n + 1], a[m], b + 2);
            }
        }
    }
}

template <class T> static __global__ void __launch_bounds__(WARPS *WARP) weights_kernel(float *sums, struct operands o)
{
    auto *stages = (unsigned short *)shared_memory();
    int column = blockIdx.x * COLUMNS, out = blockIdx.y * OUTS, depth = depth_of(o.c);
    int first = blockIdx.z * o.part, end = min(first + o.part, o.c.pixels), steps = (end - first + PIXELS - 1) / PIXELS;
    float r[M][N][4] = {};
#pragma unroll
    for (int i = 0; i < STAGES - 1; i++) {
        if (i < steps)
            fetch(stages + i * STAGE_ELEMENTS, o, out, column, first + i * PIXELS, end);
        copy_async_commit();
    }
    for (int step = 0; step < steps; step++) {
        copy_async_wait<STAGES - 2>();
        __syncthreads();
        int next = step + STAGES - 1;
        if (next < steps)
            fetch(stages + next % STAGES * STAGE_ELEMENTS, o, out, column, first + next * PIXELS, end);
        copy_async_commit();
        multiply_stage<T>(r, stages + step % STAGES * STAGE_ELEMENTS);
    }
    int warp = threadIdx.x / WARP;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                int row = out + warp / 2 * WARP_OUTS + 16 * m + own_row(e);
                int at = column + warp % 2 * WARP_COLUMNS + own_column(n, e);
                if (row < o.c.out && at < depth)
                    sums[((size_t)blockIdx.z * o.c.out + row) * depth + at] = r[m][n][e];
            }
}

const size_t SHARED = (size_t)STAGES * STAGE_ELEMENTS * sizeof(unsigned short);
} // namespace

void weight_sums(float *sums, int parts, struct tensor dy, int outs, const struct convolution &c)
{
    struct operands o = {c, (const unsigned short *)dy.data, outs, (c.pixels + parts - 1) / parts};
    auto *kernel = dy.dtype == BF16 ? weights_kernel<bf16> : weights_kernel<f16>;
    device_allow_shared(kernel, SHARED);
    LAUNCH(kernel, dim3(blocks_for(depth_of(c), COLUMNS), blocks_for(c.out, OUTS), parts), WARPS * WARP, SHARED,
           device_stream, sums, o);
}
