/*
 * Attention, forward, on tensor cores. A block takes QUERIES queries of one head, a warp 16 of them; their keys pass by
 * in tiles of KEYS, the next being fetched while one is worked on. Tiles that none of the block's queries sees are not
 * fetched, those that none of a warp's sees not computed.
 */
#include "kernels/cuda/attention.h"

#define WARPS 4
#define QUERIES (16 * WARPS)
#define KEYS 64

struct forward {
    struct view view;
    struct vectors q, k, v; /* of the first batch and head */
    unsigned short *out;
    float *lse;
    size_t batch_step; /* of q, k and v */
    int heads, width;
    float scale; /* of scores, in units of log 2 */
};

template <class T, int D> static __global__ void __launch_bounds__(WARPS *WARP) attention_kernel(struct forward f)
{
    unsigned short *queries = (unsigned short *)shared_memory(), *tiles = queries + QUERIES * tile_row<D>;
    int head = blockIdx.y, batch = blockIdx.z, first = blockIdx.x * QUERIES, mine = first + threadIdx.x / WARP * 16;
    size_t to_head = batch * f.batch_step + (size_t)head * f.width;
    struct vectors q = f.q, k = f.k, v = f.v;
    q.data += to_head;
    k.data += to_head;
    v.data += to_head;
    struct keys keys = keys_of(f.view, first, min(first + QUERIES, f.view.length) - 1);
    auto fetch = [&](int from) {
        unsigned short *tile = tiles + from / KEYS % 2 * 2 * KEYS * tile_row<D>;
        auto state_of = [&](int row) {
            return from + row < keys.count ? view_state(f.view, key_index(keys, from + row)) : -1;
        };
        load_tiles<D, KEYS, WARPS * WARP>(tile, k, v, threadIdx.x, state_of);
        copy_async_commit();
    };
    load_tile<D, QUERIES, WARPS * WARP>(queries, q, threadIdx.x,
                                        [&](int row) { return view_state(f.view, first + row); });
    fetch(0);

    unsigned a[D / 16][4];
    struct mixture<D> m;
    begin_mixture(m);
    for (int from = 0; from < keys.count; from += KEYS) {
        if (from + KEYS < keys.count)
            fetch(from + KEYS);
        else
            copy_async_commit(); /* an empty group, so that the last but one is always this tile */
        copy_async_wait<1>();
        __syncthreads();
        if (from == 0)
            load_operand<D>(a, queries + threadIdx.x / WARP * 16 * tile_row<D>);
        enum sight sight = sight_of(f.view, keys, mine, mine + 15, from, KEYS);
        if (sight != SEES_NOTHING) {
            const unsigned short *tile = tiles + from / KEYS % 2 * 2 * KEYS * tile_row<D>;
            float s[KEYS / 8][4] = {};
            multiply_transposed<T, D, KEYS / 8>(s, a, tile);
            if (sight == SEES_SOME)
                hide<KEYS / 8>(s, f.view, keys, mine, from);
            weigh<D, KEYS / 8>(m, s, f.scale);
            multiply<T, D, KEYS / 8>(m.o, s, tile + KEYS * tile_row<D>);
        }
        __syncthreads();
    }

    float scale[2];
    end_mixture(m);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        scale[half] = 1 / m.total[half];
        int state = view_state(f.view, mine + own_row(2 * half));
        if (state >= 0 && threadIdx.x % 4 == 0)
            f.lse[((size_t)batch * f.heads + head) * f.view.states + state] =
                (m.most[half] * f.scale + log2f(m.total[half])) * LN2;
    }
    size_t step = (size_t)f.heads * f.width;
    store_rows<T, D>(f.out + batch * f.view.states * step + (size_t)head * f.width, step, f.width, m.o, scale, f.view,
                     mine);
}

template <class T, int D> static void launch(const struct forward &f, int batch)
{
    size_t shared = tile_bytes<D>(QUERIES + 4 * KEYS);
    device_allow_shared(attention_kernel<T, D>, shared);
    LAUNCH((attention_kernel<T, D>), dim3(blocks_for(f.view.length, QUERIES), f.heads, batch), WARPS * WARP, shared,
           device_stream, f);
}

template <class T> static void launch_width(const struct forward &f, int batch)
{
    if (f.width <= 32)
        launch<T, 32>(f, batch);
    else if (f.width <= 64)
        launch<T, 64>(f, batch);
    else
        launch<T, 128>(f, batch);
}

static void attention(struct tensor out, struct tensor lse, struct tensor qkv, const struct attention_shape *s)
{
    if (!attention_on_tensor_cores(s, qkv, out, out)) {
        attention_any(out, lse, qkv, s);
        return;
    }
    struct vectors parts[3];
    attention_parts(parts, qkv, s);
    struct forward f = {
        .view = view_of(s),
        .q = parts[0],
        .k = parts[1],
        .v = parts[2],
        .out = (unsigned short *)out.data,
        .lse = (float *)lse.data,
        .batch_step = (size_t)s->states * parts[0].step,
        .heads = s->heads,
        .width = s->head_dim,
        .scale = LOG2E / sqrtf((float)s->head_dim),
    };
    if (qkv.dtype == BF16)
        launch_width<bf16>(f, s->batch);
    else
        launch_width<f16>(f, s->batch);
}

void cuda_attention(struct kernels *k)
{
    k->attention = attention;
}
