/*
 * Convolutions on tensor cores: products whose first operand is gathered from the picture. A block takes PIXELS pixels
 * and OUTS output channels, in steps of DEPTH of the sum, the next two of which are on their way; a warp takes 32 x 64.
 */
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/fragments.h"

namespace
{
enum { PIXELS = 128, OUTS = 128, DEPTH = 32, STAGES = 3, WARPS = 8, TILE_ROW = DEPTH + 8 };
enum { WARP_PIXELS = 32, WARP_OUTS = 64, M = WARP_PIXELS / 16, N = WARP_OUTS / 8 };
enum { STAGE_ELEMENTS = (PIXELS + OUTS) * TILE_ROW };
enum { PIECES = DEPTH / PIECE, ROWS_AT_ONCE = WARPS * WARP / PIECES, ROWS = PIXELS / ROWS_AT_ONCE };

/* The rows that a thread gathers: of each stage, piece threadIdx.x % PIECES of ROWS of them. */
struct gathered {
    int pixel[ROWS], row[ROWS], column[ROWS];
};

__device__ inline struct gathered gather_rows(const struct convolution &c, int first)
{
    struct gathered g;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        int pixel = first + threadIdx.x / PIECES + i * ROWS_AT_ONCE;
        g.pixel[i] = pixel < c.pixels ? pixel : -1;
        g.row[i] = pixel / c.width % c.height;
        g.column[i] = pixel % c.width;
    }
    return g;
}

__device__ inline void fetch(unsigned short *stage, const struct convolution &c, const struct gathered &g, int out,
                             int step)
{
    const auto *x = (const unsigned short *)c.x.data, *w = (const unsigned short *)c.packed.data;
    int piece = threadIdx.x % PIECES, k = step * DEPTH + piece * PIECE, depth = depth_of(c), distance;
    int tap = k / c.channels, channel = k % c.channels;
    unsigned short *to = stage + threadIdx.x / PIECES * TILE_ROW + piece * PIECE;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        bool valid = k < depth && g.pixel[i] >= 0 && tap_distance(c, g.row[i], g.column[i], tap, &distance);
        copy_async(to + i * ROWS_AT_ONCE * TILE_ROW,
                   x + (valid ? (size_t)(g.pixel[i] + distance) * c.channels + channel : 0), valid);
        int at = out + threadIdx.x / PIECES + i * ROWS_AT_ONCE;
        valid = k < depth && at < c.out;
        copy_async(to + (PIXELS + i * ROWS_AT_ONCE) * TILE_ROW, w + (valid ? (size_t)at * depth + k : 0), valid);
    }
}

/* Pairs of 16-bit floats, the negative ones made zero. */
__device__ inline unsigned relu_pairs(unsigned x)
{
    return x & ~((x >> 15 & 0x10001) * 0xffff);
}

template <class T>
__device__ __forceinline__ void multiply_stage(float r[M][N][4], const unsigned short *stage, bool relu)
{
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const unsigned short *x = stage + (warp / 2 * WARP_PIXELS + lane % 16) * TILE_ROW + lane / 16 * 8;
    const unsigned short *w =
        stage + (PIXELS + warp % 2 * WARP_OUTS + lane / 16 * 8 + lane % 8) * TILE_ROW + lane / 8 % 2 * 8;
#pragma unroll
    for (int k = 0; k < DEPTH; k += 16) {
        unsigned a[M][4];
#pragma unroll
        for (int m = 0; m < M; m++) {
            load_matrices(a[m], x + 16 * m * TILE_ROW + k);
#pragma unroll
            for (int i = 0; i < 4; i++)
                a[m][i] = relu ? relu_pairs(a[m][i]) : a[m][i];
        }
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            unsigned b[4];
            load_matrices(b, w + 8 * n * TILE_ROW + k);
#pragma unroll
            for (int m = 0; m < M; m++) {
                T::mma(r[m][n], a[m], b);
                T::mma(r[m][n + 1], a[m], b + 2);
            }
        }
    }
}

/* The warp's part of the product of the block's pixels and the outs from `out` on. */
template <class T>
__device__ __forceinline__ void product(float r[M][N][4], const struct convolution &c, const struct gathered &g,
                                        int out)
{
    auto *stages = (unsigned short *)shared_memory();
    int steps = (depth_of(c) + DEPTH - 1) / DEPTH;
#pragma unroll
    for (int i = 0; i < STAGES - 1; i++) {
        if (i < steps)
            fetch(stages + i * STAGE_ELEMENTS, c, g, out, i);
        copy_async_commit();
    }
    for (int step = 0; step < steps; step++) {
        copy_async_wait<STAGES - 2>();
        __syncthreads();
        int next = step + STAGES - 1;
        if (next < steps)
            fetch(stages + next % STAGES * STAGE_ELEMENTS, c, g, out, next);
        copy_async_commit();
        multiply_stage<T>(r, stages + step % STAGES * STAGE_ELEMENTS, c.fusion.relu_in);
    }
    copy_async_wait<0>();
    __syncthreads();
}

/* The pixel, within the block's, and the channel, within the warp's, of element e of part (m, n). */
__device__ inline int pixel_of(int m, int e)
{
    return threadIdx.x / WARP / 2 * WARP_PIXELS + 16 * m + own_row(e);
}
__device__ inline int out_of(int n, int e)
{
    return threadIdx.x / WARP % 2 * WARP_OUTS + own_column(n, e);
}

template <class T>
static __global__ void __launch_bounds__(WARPS *WARP) convolve_kernel(struct tensor y, struct convolution c)
{
    int out = blockIdx.x * OUTS, first = blockIdx.y * PIXELS;
    float r[M][N][4] = {};
    product<T>(r, c, gather_rows(c, first), out);
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            int pixel = first + pixel_of(m, e);
#pragma unroll
            for (int n = 0; n < N; n++) {
                int at = out + out_of(n, e);
                if (pixel >= c.pixels || at >= c.out)
                    continue;
                size_t i = (size_t)pixel * c.out + at;
                float value = r[m][n][e] + (c.bias ? c.bias[at] : 0);
                if (c.fusion.gain != 0)
                    value = load(y, i) + c.fusion.gain * value;
                store(y, i, c.fusion.relu_out ? fmaxf(value, 0) : value);
            }
        }
}

/* A result and where it stands; of equal ones the first counts. */
struct best {
    float value;
    int at;
};

__device__ inline struct best better(struct best a, struct best b)
{
    return b.value > a.value || (b.value == a.value && b.at < a.at) ? b : a;
}

/* A block goes through all channels of its pixels. */
template <class T>
static __global__ void __launch_bounds__(WARPS *WARP) argmax_kernel(int32_t *ids, struct convolution c)
{
    int first = blockIdx.x * PIXELS;
    struct gathered g = gather_rows(c, first);
    struct best best[M][2];
#pragma unroll
    for (int m = 0; m < M; m++)
        best[m][0] = best[m][1] = {-INFINITY, INT32_MAX};
    for (int out = 0; out < c.out; out += OUTS) {
        float r[M][N][4] = {};
        product<T>(r, c, g, out);
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    int at = out + out_of(n, e);
                    if (at < c.out)
                        best[m][e / 2] = better(best[m][e / 2], {r[m][n][e] + (c.bias ? c.bias[at] : 0), at});
                }
    }
    auto *room = (struct best *)shared_memory(); /* [PIXELS][2]: of either half of the channels */
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            struct best b = best[m][half];
            for (int bits = 1; bits < 4; bits *= 2)
                b = better(b, {__shfl_xor_sync(0xffffffffu, b.value, bits), __shfl_xor_sync(0xffffffffu, b.at, bits)});
            if (threadIdx.x % 4 == 0)
                room[2 * pixel_of(m, 2 * half) + threadIdx.x / WARP % 2] = b;
        }
    __syncthreads();
    for (int i = threadIdx.x; i < PIXELS && first + i < c.pixels; i += blockDim.x)
        ids[first + i] = better(room[2 * i], room[2 * i + 1]).at;
}

const size_t SHARED = (size_t)STAGES * STAGE_ELEMENTS * sizeof(unsigned short);
} // namespace

void convolve(struct tensor y, const struct convolution &c)
{
    auto *kernel = c.x.dtype == BF16 ? convolve_kernel<bf16> : convolve_kernel<f16>;
    device_allow_shared(kernel, SHARED);
    LAUNCH(kernel, dim3(blocks_for(c.out, OUTS), blocks_for(c.pixels, PIXELS)), WARPS * WARP, SHARED, device_stream, y,
           c);
}

void convolve_argmax(struct tensor ids, const struct convolution &c)
{
    auto *kernel = c.x.dtype == BF16 ? argmax_kernel<bf16> : argmax_kernel<f16>;
    device_allow_shared(kernel, SHARED);
    LAUNCH(kernel, blocks_for(c.pixels, PIXELS), WARPS * WARP, SHARED, device_stream, (int32_t *)ids.data, c);
}
