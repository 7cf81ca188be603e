/*
 * Attention, backward, on tensor cores, in two passes that need no atomics: one takes queries as the forward pass does
 * and makes their gradients, the other takes keys, with the queries that see them passing by, and makes those of keys
 * and values. Both compute the weights again from the scores and the forward pass's lse.
 */
#include "kernels/cuda/attention.h"

#define WARPS 4
#define OWN (16 * WARPS) /* queries, or keys, of a block */
#define OTHERS 32        /* keys, or queries, that pass by at a time */
#define LANES 8          /* of a vector, in delta_kernel */

struct backward {
    struct view view;
    struct vectors q, k, v, dout; /* of the first batch and head */
    unsigned short *dq, *dk, *dv; /* laid out like q, k and v */
    const float *lse, *delta;     /* [batch, heads, states] */
    size_t batch_step, dout_batch_step;
    int heads;
    float scale; /* of scores */
};

/* delta [batch, heads, states] = out . dout: the mean of the weights' gradients. LANES lanes a vector, a batch's side
 * by side along blockIdx.x. */
static __global__ void delta_kernel(float *delta, struct tensor out, struct tensor dout, unsigned states,
                                    unsigned heads, int width)
{
    unsigned vector = (blockIdx.x * blockDim.x + threadIdx.x) / LANES, vectors = states * heads;
    float sum = 0;
    if (vector < vectors) {
        size_t row = (size_t)blockIdx.y * vectors + vector;
        out = row_of(out, row, width);
        dout = row_of(dout, row, width);
        for (int i = threadIdx.x % LANES * EACH; i < width; i += LANES * EACH) {
            struct floats8 x = load8(out, i, width), y = load8(dout, i, width);
            for (int j = 0; j < EACH; j++)
                sum += x.v[j] * y.v[j];
        }
    }
    for (int bits = LANES / 2; bits; bits /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, bits);
    if (vector < vectors && threadIdx.x % LANES == 0)
        delta[((size_t)blockIdx.y * heads + vector % heads) * states + vector / heads] = sum;
}

/* The block's head and batch. */
__device__ inline void enter_head(struct backward &f)
{
    size_t head = blockIdx.y, batch = blockIdx.z, at = batch * f.batch_step + head * f.q.width;
    f.q.data += at;
    f.k.data += at;
    f.v.data += at;
    f.dq += at;
    f.dk += at;
    f.dv += at;
    f.dout.data += batch * f.dout_batch_step + head * f.q.width;
    f.lse += (batch * f.heads + head) * f.view.states;
    f.delta += (batch * f.heads + head) * f.view.states;
}

template <class T, int D> static __global__ void __launch_bounds__(WARPS *WARP) queries_kernel(struct backward f)
{
    constexpr int N = OTHERS / 8;
    unsigned short *own = (unsigned short *)shared_memory(), *tiles = own + 2 * OWN * tile_row<D>;
    int first = blockIdx.x * OWN, mine = first + threadIdx.x / WARP * 16;
    enter_head(f);
    struct keys keys = keys_of(f.view, first, min(first + OWN, f.view.length) - 1);
    auto fetch = [&](int from) {
        unsigned short *tile = tiles + from / OTHERS % 2 * 2 * OTHERS * tile_row<D>;
        auto state_of = [&](int row) {
            return from + row < keys.count ? view_state(f.view, key_index(keys, from + row)) : -1;
        };
        load_tiles<D, OTHERS, WARPS * WARP>(tile, f.k, f.v, threadIdx.x, state_of);
        copy_async_commit();
    };
    auto own_state = [&](int row) { return view_state(f.view, first + row); };
    load_tiles<D, OWN, WARPS * WARP>(own, f.q, f.dout, threadIdx.x, own_state);
    fetch(0);

    float lse[2], delta[2];
    for (int half = 0; half < 2; half++) {
        int state = view_state(f.view, mine + own_row(2 * half));
        lse[half] = state < 0 ? INFINITY : f.lse[state] * LOG2E;
        delta[half] = state < 0 ? 0 : f.delta[state];
    }
    unsigned q[D / 16][4], dout[D / 16][4];
    float dq[D / 8][4] = {};
    for (int from = 0; from < keys.count; from += OTHERS) {
        if (from + OTHERS < keys.count)
            fetch(from + OTHERS);
        else
            copy_async_commit();
        copy_async_wait<1>();
        __syncthreads();
        if (from == 0) {
            load_operand<D>(q, own + threadIdx.x / WARP * 16 * tile_row<D>);
            load_operand<D>(dout, own + (OWN + threadIdx.x / WARP * 16) * tile_row<D>);
        }
        enum sight sight = sight_of(f.view, keys, mine, mine + 15, from, OTHERS);
        if (sight != SEES_NOTHING) {
            const unsigned short *tile = tiles + from / OTHERS % 2 * 2 * OTHERS * tile_row<D>;
            float s[N][4] = {}, ds[N][4] = {};
            multiply_transposed<T, D, N>(s, q, tile);
            multiply_transposed<T, D, N>(ds, dout, tile + OTHERS * tile_row<D>);
            if (sight == SEES_SOME)
                hide<N>(s, f.view, keys, mine, from);
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    float weight = exp2_approximate(s[n][e] * (f.scale * LOG2E) - lse[e / 2]);
                    ds[n][e] = weight * (ds[n][e] - delta[e / 2]);
                }
            multiply<T, D, N>(dq, ds, tile);
        }
        __syncthreads();
    }
    const float scale[2] = {f.scale, f.scale};
    store_rows<T, D>(f.dq, f.q.step, f.q.width, dq, scale, f.view, mine);
}

/* What the keys' pass needs of a query beside its vectors. */
struct query {
    float lse, delta; /* lse in units of log 2; infinite: there is no such query */
};

/* Scores s [16, 8 N] of keys first ... and queries from ...: -INFINITY where nothing is seen. */
template <int N> __device__ inline void hide_keys(float s[N][4], const struct view &v, int first, int from)
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int j = first + own_row(2 * half), high = view_high(v, j);
        bool rows = v.mask == MASK_CONV && j >= v.prefix;
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 2 * half; e < 2 * half + 2; e++) {
                int i = from + own_column(n, e);
                bool seen = i >= j && i < high && (!rows || view_within(v, i - j));
                s[n][e] = seen ? s[n][e] : -INFINITY;
            }
    }
}

template <class T, int D>
static __global__ void __launch_bounds__(WARPS *WARP, D <= 64 ? 3 : 1) keys_kernel(struct backward f)
{
    constexpr int N = OTHERS / 8;
    unsigned short *own = (unsigned short *)shared_memory(), *tiles = own + 2 * OWN * tile_row<D>;
    struct query *queries = (struct query *)(tiles + 2 * 2 * OTHERS * tile_row<D>);
    int first = blockIdx.x * OWN, mine = first + threadIdx.x / WARP * 16;
    enter_head(f);
    bool all = f.view.mask == MASK_NONE;
    int begin = all ? 0 : first / OTHERS * OTHERS;
    int end = view_high(f.view, min(first + OWN, f.view.length) - 1), mine_end = min(mine + 16, f.view.length) - 1;
    if (first < f.view.prefix)
        end = f.view.length;
    auto fetch = [&](int from) {
        int buffer = from / OTHERS % 2;
        unsigned short *tile = tiles + buffer * 2 * OTHERS * tile_row<D>;
        auto state_of = [&](int row) { return view_state(f.view, from + row); };
        load_tiles<D, OTHERS, WARPS * WARP>(tile, f.q, f.dout, threadIdx.x, state_of);
        copy_async_commit();
        for (int row = threadIdx.x; row < OTHERS; row += blockDim.x) {
            int state = state_of(row);
            queries[buffer * OTHERS + row] = {state < 0 ? INFINITY : f.lse[state] * LOG2E,
                                              state < 0 ? 0 : f.delta[state]};
        }
    };
    auto own_state = [&](int row) { return view_state(f.view, first + row); };
    load_tiles<D, OWN, WARPS * WARP>(own, f.k, f.v, threadIdx.x, own_state);
    fetch(begin);

    /* Queries see keys up to themselves, and the image's not beyond view_high, which rises. */
    int high = view_high(f.view, min(mine, f.view.length - 1)), last_high = view_high(f.view, mine_end);
    auto seen_by_all = [&](int from) {
        bool image = mine >= f.view.prefix && f.view.mask != MASK_CONV && from + OTHERS <= high;
        return all || (from >= mine + 15 && (mine + 15 < f.view.prefix || image));
    };
    unsigned k[D / 16][4], v[D / 16][4];
    float dk[D / 8][4] = {}, dv[D / 8][4] = {};
    for (int from = begin; from < end; from += OTHERS) {
        if (from + OTHERS < end)
            fetch(from + OTHERS);
        else
            copy_async_commit();
        copy_async_wait<1>();
        __syncthreads();
        if (from == begin) {
            load_operand<D>(k, own + threadIdx.x / WARP * 16 * tile_row<D>);
            load_operand<D>(v, own + (OWN + threadIdx.x / WARP * 16) * tile_row<D>);
        }
        bool seen_by_some =
            mine < f.view.length && (all || from + OTHERS > mine) && (mine < f.view.prefix || from < last_high);
        if (seen_by_some) {
            const unsigned short *tile = tiles + from / OTHERS % 2 * 2 * OTHERS * tile_row<D>;
            const struct query *others = queries + from / OTHERS % 2 * OTHERS;
            float s[N][4] = {}, ds[N][4] = {};
            multiply_transposed<T, D, N>(s, k, tile);
            multiply_transposed<T, D, N>(ds, v, tile + OTHERS * tile_row<D>);
            if (!seen_by_all(from))
                hide_keys<N>(s, f.view, mine, from);
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    struct query query = others[own_column(n, e)];
                    s[n][e] = exp2_approximate(s[n][e] * (f.scale * LOG2E) - query.lse);
                    ds[n][e] = s[n][e] * (ds[n][e] - query.delta);
                }
            multiply<T, D, N>(dv, s, tile + OTHERS * tile_row<D>);
            multiply<T, D, N>(dk, ds, tile);
        }
        __syncthreads();
    }
    const float scale[2] = {f.scale, f.scale}, one[2] = {1, 1};
    store_rows<T, D>(f.dk, f.q.step, f.q.width, dk, scale, f.view, mine);
    store_rows<T, D>(f.dv, f.q.step, f.q.width, dv, one, f.view, mine);
}

template <class T, int D> static void launch(const struct backward &f, int batch)
{
    size_t shared = tile_bytes<D>(2 * OWN + 4 * OTHERS);
    dim3 grid(blocks_for(f.view.length, OWN), f.heads, batch);
    device_allow_shared(queries_kernel<T, D>, shared);
    LAUNCH((queries_kernel<T, D>), grid, WARPS * WARP, shared, device_stream, f);
    shared += 2 * OTHERS * sizeof(struct query);
    device_allow_shared(keys_kernel<T, D>, shared);
    LAUNCH((keys_kernel<T, D>), grid, WARPS * WARP, shared, device_stream, f);
}

template <class T> static void launch_width(const struct backward &f, int batch)
{
    if (f.q.width <= 32)
        launch<T, 32>(f, batch);
    else if (f.q.width <= 64)
        launch<T, 64>(f, batch);
    else
        launch<T, 128>(f, batch);
}

static void attention_backward(struct tensor dqkv, struct tensor dout, struct tensor qkv, struct tensor out,
                               struct tensor lse, const struct attention_shape *s)
{
    size_t vectors = (size_t)s->batch * s->states * s->heads, width = (size_t)s->heads * s->head_dim;
    struct tensor delta = {device_scratch(vectors * sizeof(float)), F32};
    dim3 grid(blocks_for((size_t)s->states * s->heads * LANES, THREADS), s->batch);
    LAUNCH(delta_kernel, grid, THREADS, 0, device_stream, (float *)delta.data, out, dout, (unsigned)s->states,
           (unsigned)s->heads, s->head_dim);
    if (!attention_on_tensor_cores(s, qkv, dout, dqkv)) {
        attention_any_backward(dqkv, dout, qkv, delta, lse, s);
        return;
    }
    struct vectors parts[3], gradients[3];
    attention_parts(parts, qkv, s);
    attention_parts(gradients, dqkv, s);
    struct backward f = {
        .view = view_of(s),
        .q = parts[0],
        .k = parts[1],
        .v = parts[2],
        .dout = {(const unsigned short *)dout.data, (int)width, s->head_dim},
        .dq = (unsigned short *)gradients[0].data,
        .dk = (unsigned short *)gradients[1].data,
        .dv = (unsigned short *)gradients[2].data,
        .lse = (const float *)lse.data,
        .delta = (const float *)delta.data,
        .batch_step = s->states * 3 * width,
        .dout_batch_step = s->states * width,
        .heads = s->heads,
        .scale = 1 / sqrtf((float)s->head_dim),
    };
    if (qkv.dtype == BF16)
        launch_width<bf16>(f, s->batch);
    else
        launch_width<f16>(f, s->batch);
}

void cuda_attention_backward(struct kernels *k)
{
    k->attention_backward = attention_backward;
}
