/*
 * What the attention kernels share: the order in which states are taken, what one sees of another, and products of
 * tiles in shared memory on tensor cores.
 *
 * States are taken in an order, by index, in which all that a state sees of the image lies close together: raster
 * order, but columns one after the other under MASK_COLUMN. Index i then sees index j <= i where j is of the prefix or
 * j >= low(i), under MASK_CONV some of these alone.
 */
#ifndef ATELIER_KERNELS_CUDA_ATTENTION_H
#define ATELIER_KERNELS_CUDA_ATTENTION_H

#include "kernels/cuda/device.h"
#include "kernels/cuda/fragments.h"

/* A mask, as kernels take it. */
struct view {
    enum mask mask;
    int prefix, grid, half; /* half: of the conv kernel's width, rounded down */
    int states, length;     /* indices are 0 .. length - 1; a cut column grid has some without a state */
    unsigned inverse;       /* 2^32 / grid, rounded up; 0 where grid is 1 */
};

static inline struct view view_of(const struct attention_shape *s)
{
    bool whole = s->mask == MASK_NONE || s->mask == MASK_CAUSAL;
    struct view v = {s->mask,
                     whole ? s->states : s->prefix,
                     s->grid,
                     s->kernel / 2,
                     s->states,
                     s->states,
                     s->grid > 1 ? UINT32_MAX / s->grid + 1 : 0};
    if (s->mask == MASK_COLUMN && s->states > s->prefix)
        v.length = s->prefix + s->grid * s->grid;
    return v;
}

/* n / grid of a position n: exact below 2^32 / grid, and where grid is 1 of the only one. */
__device__ inline int view_line(const struct view &v, int n)
{
    return (int)__umulhi((unsigned)n, v.inverse);
}

/* The state of an index; -1: none. */
__device__ inline int view_state(const struct view &v, int i)
{
    if (i >= v.length)
        return -1;
    if (v.mask != MASK_COLUMN || i < v.prefix)
        return i;
    int at = i - v.prefix, column = view_line(v, at), state = v.prefix + (at - column * v.grid) * v.grid + column;
    return state < v.states ? state : -1;
}

/* The first index behind the prefix that index i sees; rises with i. */
__device__ inline int view_low(const struct view &v, int i)
{
    if (i < v.prefix)
        return 0;
    int at = i - v.prefix;
    switch (v.mask) {
    case MASK_ROW:
        return v.prefix + max(at - v.grid, 0);
    case MASK_COLUMN:
        return v.prefix + view_line(v, at) * v.grid;
    default:
        return v.prefix + max(at - v.half * v.grid - v.half, 0);
    }
}

/* One behind the last index that sees index j. */
__device__ inline int view_high(const struct view &v, int j)
{
    if (j < v.prefix)
        return v.length;
    int at = j - v.prefix;
    switch (v.mask) {
    case MASK_ROW:
        return min(j + v.grid + 1, v.length);
    case MASK_COLUMN:
        return v.prefix + (view_line(v, at) + 1) * v.grid;
    default:
        return min(j + v.half * v.grid + v.half + 1, v.length);
    }
}

/* Under MASK_CONV, whether an index sees the one `back` before it, which is not before its low: whether that lies
 * within a row of the kernel, or between two. */
__device__ inline bool view_within(const struct view &v, int back)
{
    int between = v.grid - 1 - 2 * v.half, n = back - v.half + v.grid - 1; /* rows end where grid divides n + 1 */
    return between <= 0 || n - view_line(v, n) * v.grid >= between;
}

/* Whether index i, whose low is given, sees index j. */
__device__ inline bool view_sees(const struct view &v, int i, int low, int j)
{
    if (v.mask == MASK_NONE)
        return true;
    if (j > i || (j >= v.prefix && j < low))
        return false;
    return v.mask != MASK_CONV || j < v.prefix || view_within(v, i - j);
}

/* The indices that a range of queries may see, numbered from 0: 0 .. split - 1, then `jump` further. */
struct keys {
    int count, split, jump;
};

__device__ inline struct keys keys_of(const struct view &v, int first, int last)
{
    if (v.mask == MASK_NONE)
        return {v.length, v.length, 0};
    if (last < v.prefix)
        return {last + 1, last + 1, 0};
    int low = max(view_low(v, first), v.prefix);
    return {last + 1 - (low - v.prefix), v.prefix, low - v.prefix};
}

__device__ inline int key_index(const struct keys &k, int number)
{
    return number < k.split ? number : number + k.jump;
}

/* Whether none, or all, of the queries first .. last sees any, or all, of the keys numbered from .. from + count - 1.
 */
enum sight { SEES_NOTHING, SEES_SOME, SEES_ALL };
__device__ inline enum sight sight_of(const struct view &v, const struct keys &k, int first, int last, int from,
                                      int count)
{
    int j0 = key_index(k, from), j1 = key_index(k, min(from + count, k.count) - 1);
    if (v.mask == MASK_NONE)
        return from + count <= k.count ? SEES_ALL : SEES_SOME;
    if (first >= v.length || j0 > last || (j0 >= v.prefix && j1 < view_low(v, first)))
        return SEES_NOTHING;
    bool image = j1 >= v.prefix;
    bool all = from + count <= k.count && j1 <= first &&
               (!image || (v.mask != MASK_CONV && view_low(v, last) <= max(j0, v.prefix)));
    return all ? SEES_ALL : SEES_SOME;
}

/* Scores s [16, 8 N] of queries first ... and keys numbered from ...: -INFINITY where nothing is seen. */
template <int N>
__device__ inline void hide(float s[N][4], const struct view &v, const struct keys &k, int first, int from)
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        /* Seen are keys before `start`, and those from low to last, or some of these. */
        int i = first + own_row(2 * half), start = v.mask == MASK_NONE ? k.count : min(i + 1, k.split);
        int low = max(view_low(v, i), v.prefix) - k.jump, last = i - k.jump;
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 2 * half; e < 2 * half + 2; e++) {
                int number = from + own_column(n, e);
                bool seen = number < start || (number >= low && number <= last);
                s[n][e] = seen ? s[n][e] : -INFINITY;
            }
        if (v.mask != MASK_CONV)
            continue;
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 2 * half; e < 2 * half + 2; e++) {
                int number = from + own_column(n, e);
                s[n][e] = number < k.split || view_within(v, last - number) ? s[n][e] : -INFINITY;
            }
    }
}

/* Tiles in shared memory: rows of D elements, 16 bytes further apart so that eight rows lie in different banks. */
template <int D> constexpr int tile_row = D + 8;
template <int D> constexpr size_t tile_bytes(int rows)
{
    return (size_t)rows * tile_row<D> * 2;
}

/* Where one head's vectors of one part lie: `step` elements from a state to the next, `width` of them used. */
struct vectors {
    const unsigned short *data;
    int step, width;
};

/* A thread's piece of a vector; zeros for state -1 and beyond the width. */
__device__ inline void load_piece(unsigned short *to, const struct vectors &from, int state, int at)
{
    const unsigned short *piece = from.data + at + (ptrdiff_t)max(state, 0) * from.step;
    copy_async(to, piece, state >= 0 && at < from.width);
}

/* Tiles [ROWS, D], one after the other, of the vectors of the states that state_of(row) names: one of x, or of x and y.
 * By COUNT threads, of which this is one. */
template <int D, int ROWS, int COUNT, class StateOf>
__device__ inline void load_tile(unsigned short *tile, const struct vectors &x, int thread, StateOf state_of)
{
    constexpr int PIECES = D / 8, AT_ONCE = COUNT / PIECES;
    int at = thread % PIECES * 8, first = thread / PIECES;
    tile += first * tile_row<D> + at;
#pragma unroll
    for (int row = 0; row < ROWS; row += AT_ONCE)
        load_piece(tile + row * tile_row<D>, x, state_of(first + row), at);
}

template <int D, int ROWS, int COUNT, class StateOf>
__device__ inline void load_tiles(unsigned short *tile, const struct vectors &x, const struct vectors &y, int thread,
                                  StateOf state_of)
{
    constexpr int PIECES = D / 8, AT_ONCE = COUNT / PIECES;
    int at = thread % PIECES * 8, first = thread / PIECES;
    tile += first * tile_row<D> + at;
#pragma unroll
    for (int row = 0; row < ROWS; row += AT_ONCE) {
        int state = state_of(first + row);
        load_piece(tile + row * tile_row<D>, x, state, at);
        load_piece(tile + (ROWS + row) * tile_row<D>, y, state, at);
    }
}

/* Sixteen rows of a tile as an operand `a`. */
template <int D> __device__ inline void load_operand(unsigned a[D / 16][4], const unsigned short *rows)
{
    int lane = threadIdx.x % WARP;
#pragma unroll
    for (int k = 0; k < D / 16; k++)
        load_matrices(a[k], rows + lane % 16 * tile_row<D> + 16 * k + lane / 16 * 8);
}

/* s [16, 8 N] += a [16, D] times the transpose of the tile's rows [8 N, D]. */
template <class T, int D, int N>
__device__ inline void multiply_transposed(float s[N][4], const unsigned a[D / 16][4], const unsigned short *rows)
{
    int lane = threadIdx.x % WARP;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int k = 0; k < D / 32; k++) {
            unsigned b[4];
            load_matrices(b, rows + (8 * n + lane % 8) * tile_row<D> + 32 * k + lane / 8 * 8);
            T::mma(s[n], a[2 * k], b);
            T::mma(s[n], a[2 * k + 1], b + 2);
        }
}

/* o [16, D] += p [16, 8 N], rounded to T, times the tile's rows [8 N, D]. */
template <class T, int D, int N>
__device__ inline void multiply(float o[D / 8][4], const float p[N][4], const unsigned short *rows)
{
    int lane = threadIdx.x % WARP;
#pragma unroll
    for (int k = 0; k < N / 2; k++) {
        const float *low = p[2 * k], *high = p[2 * k + 1];
        const unsigned a[4] = {T::pack(low[0], low[1]), T::pack(low[2], low[3]), T::pack(high[0], high[1]),
                               T::pack(high[2], high[3])};
#pragma unroll
        for (int n = 0; n < D / 16; n++) {
            unsigned b[4];
            load_matrices_transposed(b, rows + (16 * k + lane % 16) * tile_row<D> + 16 * n + lane / 16 * 8);
            T::mma(o[2 * n], a, b);
            T::mma(o[2 * n + 1], a, b + 2);
        }
    }
}

/* A softmax that is kept online (Milakov and Gimelshein, 2018; Dao et al., 2022) for sixteen rows, times their values:
 * the largest score so far, and sums relative to it, those of `total` being over the thread's own columns. */
template <int D> struct mixture {
    float o[D / 8][4], most[2], total[2];
};

template <int D> __device__ inline void begin_mixture(struct mixture<D> &m)
{
    m = {};
    m.most[0] = m.most[1] = -INFINITY;
}

/* Scores, -INFINITY where nothing is seen, become weights: 2 to their power, times scale, relative to the largest. */
template <int D, int N> __device__ inline void weigh(struct mixture<D> &m, float s[N][4], float scale)
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float most = m.most[half];
#pragma unroll
        for (int n = 0; n < N; n++)
            most = fmaxf(most, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
        float base = most == -INFINITY ? 0 : most * scale, sum = 0;
        float keep = exp2_approximate(fmaf(m.most[half], scale, -base));
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 2 * half; e < 2 * half + 2; e++) {
                s[n][e] = exp2_approximate(fmaf(s[n][e], scale, -base));
                sum += s[n][e];
            }
        m.most[half] = most;
        m.total[half] = m.total[half] * keep + sum;
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            m.o[n][2 * half] *= keep;
            m.o[n][2 * half + 1] *= keep;
        }
    }
}

/* Sums over all columns. */
template <int D> __device__ inline void end_mixture(struct mixture<D> &m)
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        m.total[half] += __shfl_xor_sync(0xffffffffu, m.total[half], 1);
        m.total[half] += __shfl_xor_sync(0xffffffffu, m.total[half], 2);
    }
}

/* Sixteen rows o [16, D] to the states of indices first ..., each row times its scale[]. */
template <class T, int D>
__device__ inline void store_rows(unsigned short *to, size_t step, int width, const float o[D / 8][4],
                                  const float scale[2], const struct view &v, int first)
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int state = view_state(v, first + own_row(2 * half));
        if (state < 0)
            continue;
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            int column = own_column(n, 0);
            if (column < width)
                *(unsigned *)(to + state * step + column) =
                    T::pack(o[n][2 * half] * scale[half], o[n][2 * half + 1] * scale[half]);
        }
    }
}

/* Queries, keys and values of the first batch and head. */
static inline void attention_parts(struct vectors parts[3], struct tensor qkv, const struct attention_shape *s)
{
    size_t width = (size_t)s->heads * s->head_dim;
    for (int i = 0; i < 3; i++)
        parts[i] = {(const unsigned short *)qkv.data + i * width, 3 * (int)width, s->head_dim};
}

/* Tensor cores take 16-bit vectors in pieces of 16 bytes. */
static inline bool attention_on_tensor_cores(const struct attention_shape *s, struct tensor a, struct tensor b,
                                             struct tensor c)
{
    return a.dtype != F32 && s->head_dim % 8 == 0 && s->head_dim <= 128 && aligned16(a.data) && aligned16(b.data) &&
           aligned16(c.data);
}

/* The attention of any type and width, on plain arithmetic. */
void attention_any(struct tensor out, struct tensor lse, struct tensor qkv, const struct attention_shape *s);
void attention_any_backward(struct tensor dqkv, struct tensor dout, struct tensor qkv, struct tensor delta,
                            struct tensor lse, const struct attention_shape *s);

#define LOG2E 1.4426950408889634f
#define LN2 0.6931471805599453f

#endif
