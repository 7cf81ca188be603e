/*
 * Convolutions on tensor cores: products whose first operand is gathered from the picture. A block takes a tile of
 * pixels and output channels, in steps of DEPTH of the sum, the next two of which are on their way; a warp takes 64 x
 * 64. Where DEPTH divides the channels, all taps of DEPTH channels follow each other: they read nearly the same pixels,
 * which the nearest cache then still has.
 */
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/fragments.h"

namespace
{
enum { DEPTH = 32, STAGES = 3, WARPS = 4, TILE_ROW = DEPTH + 8, SIDE = 64, M = SIDE / 16, N = SIDE / 8 };
enum { PIECES = DEPTH / PIECE, ROWS_AT_ONCE = WARPS * WARP / PIECES };
enum { ARGMAX_OUTS = 512 /* of a block that looks for the largest */ };

/* PIXEL_WARPS x OUT_WARPS = WARPS: how a block's warps lie. */
template <int PIXEL_WARPS, int OUT_WARPS> struct tile {
    enum { PIXELS = SIDE * PIXEL_WARPS, OUTS = SIDE * OUT_WARPS, ACROSS = OUT_WARPS };
    enum { STAGE_ELEMENTS = (PIXELS + OUTS) * TILE_ROW, RESULT_ROW = OUTS + 4 };
    static constexpr int STAGES_BYTES = STAGES * STAGE_ELEMENTS * 2, RESULT_BYTES = PIXELS * RESULT_ROW * 4;
    static constexpr int BYTES = STAGES_BYTES > RESULT_BYTES ? STAGES_BYTES : RESULT_BYTES;
    enum { PIXEL_ROWS = PIXELS / ROWS_AT_ONCE, OUT_ROWS = OUTS / ROWS_AT_ONCE };
};
typedef tile<2, 2> square;
typedef tile<4, 1> narrow; /* of few channels */

/* The rows that a thread gathers: of each stage, piece threadIdx.x % PIECES of Tile::PIXEL_ROWS pixels. A pixel's row
 * and column lie in one number. */
template <class Tile> struct gathered {
    int pixel[Tile::PIXEL_ROWS], place[Tile::PIXEL_ROWS];
};

template <class Tile> __device__ inline struct gathered<Tile> gather_rows(const struct convolution &c, int first) {
    struct gathered<Tile> g;
#pragma unroll
    for (int i = 0; i < Tile::PIXEL_ROWS; i++) {
        int pixel = first + threadIdx.x / PIECES + i * ROWS_AT_ONCE;
        g.pixel[i] = pixel < c.pixels ? pixel : -1;
        g.place[i] = pixel / c.width % c.height << 16 | pixel % c.width;
    }
    return g;
}

template <class Tile>
__device__ inline void fetch(unsigned short *stage, const struct convolution &c, const struct gathered<Tile> &g,
                             int out, int step)
{
    const auto *x = (const unsigned short *)c.x.data, *w = (const unsigned short *)c.packed.data;
    int piece = threadIdx.x % PIECES * PIECE, taps = c.kernel * c.kernel, tap, channel, distance;
    if (c.channels % DEPTH == 0) {
        tap = step % taps;
        channel = step / taps * DEPTH + piece;
    } else {
        tap = (step * DEPTH + piece) / c.channels;
        channel = (step * DEPTH + piece) % c.channels;
    }
    unsigned short *to = stage + threadIdx.x / PIECES * TILE_ROW + piece;
#pragma unroll
    for (int i = 0; i < Tile::PIXEL_ROWS; i++) {
        bool valid =
            tap < taps && g.pixel[i] >= 0 && tap_distance(c, g.place[i] >> 16, g.place[i] & 0xffff, tap, &distance);
        copy_async_near(to + i * ROWS_AT_ONCE * TILE_ROW,
                        x + (valid ? (size_t)(g.pixel[i] + distance) * c.channels + channel : 0), valid);
    }
    to += Tile::PIXELS * TILE_ROW;
#pragma unroll
    for (int i = 0; i < Tile::OUT_ROWS; i++) {
        int at = out + threadIdx.x / PIECES + i * ROWS_AT_ONCE;
        bool valid = tap < taps && at < c.out;
        copy_async(to + i * ROWS_AT_ONCE * TILE_ROW, w + (valid ? ((size_t)at * taps + tap) * c.channels + channel : 0),
                   valid);
    }
}

template <class T, class Tile>
__device__ __forceinline__ void multiply_stage(float r[M][N][4], const unsigned short *stage, bool relu)
{
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const unsigned short *x = stage + (warp / Tile::ACROSS * SIDE + lane % 16) * TILE_ROW + lane / 16 * 8;
    const unsigned short *w =
        stage + (Tile::PIXELS + warp % Tile::ACROSS * SIDE + lane / 16 * 8 + lane % 8) * TILE_ROW + lane / 8 % 2 * 8;
    unsigned taken = relu ? 0xffffffff : 0;
#pragma unroll
    for (int k = 0; k < DEPTH; k += 16) {
        unsigned a[M][4];
#pragma unroll
        for (int m = 0; m < M; m++) {
            load_matrices(a[m], x + 16 * m * TILE_ROW + k);
#pragma unroll
            for (int i = 0; i < 4; i++)
                a[m][i] &= ~(negative_halves(a[m][i]) & taken);
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
template <class T, class Tile>
__device__ __forceinline__ void product(float r[M][N][4], const struct convolution &c, const struct gathered<Tile> &g,
                                        int out)
{
    auto *stages = (unsigned short *)shared_memory();
    int steps = (depth_of(c) + DEPTH - 1) / DEPTH;
#pragma unroll
    for (int i = 0; i < STAGES - 1; i++) {
        if (i < steps)
            fetch<Tile>(stages + i * Tile::STAGE_ELEMENTS, c, g, out, i);
        copy_async_commit();
    }
    for (int step = 0; step < steps; step++) {
        copy_async_wait<STAGES - 2>();
        __syncthreads();
        int next = step + STAGES - 1;
        if (next < steps)
            fetch<Tile>(stages + next % STAGES * Tile::STAGE_ELEMENTS, c, g, out, next);
        copy_async_commit();
        multiply_stage<T, Tile>(r, stages + step % STAGES * Tile::STAGE_ELEMENTS, c.fusion.relu_in);
    }
    copy_async_wait<0>();
    __syncthreads();
}

/* The pixel, within the block's, and the channel, within the block's, of element e of part (m, n). */
template <class Tile> __device__ inline int pixel_of(int m, int e)
{
    return threadIdx.x / WARP / Tile::ACROSS * SIDE + 16 * m + own_row(e);
}
template <class Tile> __device__ inline int out_of(int n, int e)
{
    return threadIdx.x / WARP % Tile::ACROSS * SIDE + own_column(n, e);
}

/* What becomes of EACH results of a pixel, in y's row, from channel `at` on. */
__device__ inline void finish(struct tensor row, int at, struct floats8 v, const struct convolution &c)
{
    if (c.bias) {
        struct floats8 bias = load8({(void *)c.bias, F32}, at, c.out);
        for (int j = 0; j < EACH; j++)
            v.v[j] += bias.v[j];
    }
    if (c.fusion.gain != 0) {
        struct floats8 old = load8(row, at, c.out);
        for (int j = 0; j < EACH; j++)
            v.v[j] = old.v[j] + c.fusion.gain * v.v[j];
    }
    for (int j = 0; c.fusion.relu_out && j < EACH; j++)
        v.v[j] = v.v[j] < 0 ? 0 : v.v[j]; /* NaN stays, which fmaxf would hide */
    store8(row, at, c.out, v);
}

/* Neighbouring blocks take the same pixels. Results pass through shared memory, to be stored together. */
template <class T, class Tile>
static __global__ void __launch_bounds__(WARPS *WARP, 2) convolve_kernel(struct tensor y, struct convolution c)
{
    int across = (c.out + Tile::OUTS - 1) / Tile::OUTS;
    int out = blockIdx.x % across * Tile::OUTS, first = blockIdx.x / across * Tile::PIXELS;
    float r[M][N][4] = {}, *results = (float *)shared_memory();
    product<T, Tile>(r, c, gather_rows<Tile>(c, first), out);
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e += 2)
                *(float2 *)(results + pixel_of<Tile>(m, e) * Tile::RESULT_ROW + out_of<Tile>(n, e)) =
                    make_float2(r[m][n][e], r[m][n][e + 1]);
    __syncthreads();
    for (int i = threadIdx.x; i < Tile::PIXELS * Tile::OUTS / EACH; i += WARPS * WARP) {
        int pixel = i / (Tile::OUTS / EACH), at = i % (Tile::OUTS / EACH) * EACH;
        if (first + pixel < c.pixels && out + at < c.out)
            finish(row_of(y, first + pixel, c.out), out + at,
                   load8({results + pixel * Tile::RESULT_ROW + at, F32}, 0, EACH), c);
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

/* The best of ARGMAX_OUTS channels for a block's pixels: bests [pixels, parts]. Neighbouring blocks take the same
 * pixels, so that what runs at one time reads few of them, and few weights. */
template <class T>
static __global__ void __launch_bounds__(WARPS *WARP, 2)
    argmax_kernel(struct best *bests, int parts, struct convolution c)
{
    int first = blockIdx.x / parts * square::PIXELS, part = blockIdx.x % parts;
    int end = min((part + 1) * ARGMAX_OUTS, c.out);
    struct gathered<square> g = gather_rows<square>(c, first);
    struct best best[M][2];
#pragma unroll
    for (int m = 0; m < M; m++)
        best[m][0] = best[m][1] = {-INFINITY, INT32_MAX};
    for (int out = part * ARGMAX_OUTS; out < end; out += square::OUTS) {
        float r[M][N][4] = {};
        product<T, square>(r, c, g, out);
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                int at = out + out_of<square>(n, e);
                float bias = c.bias && at < c.out ? c.bias[at] : 0;
#pragma unroll
                for (int m = 0; m < M; m++)
                    if (at < c.out)
                        best[m][e / 2] = better(best[m][e / 2], {r[m][n][e] + bias, at});
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
                room[2 * pixel_of<square>(m, 2 * half) + threadIdx.x / WARP % 2] = b;
        }
    __syncthreads();
    for (int i = threadIdx.x; i < square::PIXELS && first + i < c.pixels; i += blockDim.x)
        bests[(size_t)(first + i) * parts + part] = better(room[2 * i], room[2 * i + 1]);
}

static __global__ void choose_kernel(int32_t *ids, const struct best *bests, int parts, int pixels)
{
    size_t pixel = global_thread();
    if (pixel >= (size_t)pixels)
        return;
    struct best b = bests[pixel * parts];
    for (int i = 1; i < parts; i++)
        b = better(b, bests[pixel * parts + i]);
    ids[pixel] = isfinite(b.value) ? b.at : -1;
}

template <class T, class Tile> void launch(struct tensor y, const struct convolution &c)
{
    device_allow_shared(convolve_kernel<T, Tile>, Tile::BYTES);
    LAUNCH((convolve_kernel<T, Tile>), blocks_for(c.out, Tile::OUTS) * blocks_for(c.pixels, Tile::PIXELS), WARPS * WARP,
           Tile::BYTES, device_stream, y, c);
}

template <class T> void launch_argmax(struct tensor ids, const struct convolution &c, void *room)
{
    auto *bests = (struct best *)room;
    int parts = (int)blocks_for(c.out, ARGMAX_OUTS);
    device_allow_shared(argmax_kernel<T>, square::BYTES);
    LAUNCH((argmax_kernel<T>), blocks_for(c.pixels, square::PIXELS) * parts, WARPS * WARP, square::BYTES, device_stream,
           bests, parts, c);
    LAUNCH(choose_kernel, blocks_for(c.pixels, THREADS), THREADS, 0, device_stream, (int32_t *)ids.data,
           (const struct best *)bests, parts, c.pixels);
}
} // namespace

void convolve(struct tensor y, const struct convolution &c)
{
    bool few = c.out <= narrow::OUTS;
    if (c.x.dtype == BF16)
        few ? launch<bf16, narrow>(y, c) : launch<bf16, square>(y, c);
    else
        few ? launch<f16, narrow>(y, c) : launch<f16, square>(y, c);
}

size_t convolve_argmax_room(size_t pixels, int out)
{
    return pixels * blocks_for(out, ARGMAX_OUTS) * sizeof(struct best);
}

void convolve_argmax(struct tensor ids, const struct convolution &c, void *room)
{
    if (c.x.dtype == BF16)
        launch_argmax<bf16>(ids, c, room);
    else
        launch_argmax<f16>(ids, c, room);
}
