/*
 * Attention of any type and width on plain arithmetic, for what tensor cores do not take: a warp a query (forward, and
 * its gradient) or a key (its gradients and its value's), its lanes side by side along the vectors.
 */
#include "kernels/cuda/attention_any.h"

struct heads {
    struct view view;
    int batch, heads, width;
};

/* The warp's index, head and batch, and where vectors lie. */
struct place {
    int index, state;
    size_t head, batch, statistic; /* of lse */
};

__device__ inline struct place place_of(const struct heads &h, size_t warp)
{
    struct place p;
    p.index = warp % h.view.length;
    p.state = view_state(h.view, p.index);
    p.head = warp / h.view.length % h.heads;
    p.batch = warp / h.view.length / h.heads;
    p.statistic = (p.batch * h.heads + p.head) * h.view.states;
    return p;
}

__device__ inline size_t part_at(const struct heads &h, const struct place &p, int state, int part)
{
    return (((p.batch * h.view.states + state) * 3 + part) * h.heads + p.head) * h.width;
}

__device__ inline size_t out_at(const struct heads &h, const struct place &p, int state)
{
    return ((p.batch * h.view.states + state) * h.heads + p.head) * h.width;
}

static __global__ void forward_kernel(struct tensor out, struct tensor lse, struct tensor qkv, struct heads h)
{
    struct place p = place_of(h, global_thread() / WARP);
    if (p.batch >= (size_t)h.batch || p.state < 0)
        return;
    float q[OWN_ELEMENTS], scale = 1 / sqrtf((float)h.width);
    struct online m;
    online_begin(&m, h.width);
    load_own(q, qkv, part_at(h, p, p.state, 0), h.width);
    struct keys keys = keys_of(h.view, p.index, p.index);
    int low = view_low(h.view, p.index);
    for (int n = 0; n < keys.count; n++) {
        int j = key_index(keys, n);
        if (!view_sees(h.view, p.index, low, j))
            continue;
        int key = view_state(h.view, j);
        float score = scale * dot_own(q, qkv, part_at(h, p, key, 1), h.width);
        online_add(&m, score, qkv, part_at(h, p, key, 2), h.width);
    }
    store_own(out, out_at(h, p, p.state), h.width, m.o, 1 / m.total);
    if (threadIdx.x % WARP == 0)
        ((float *)lse.data)[p.statistic + p.state] = m.most + logf(m.total);
}

static __global__ void queries_kernel(struct tensor dqkv, struct tensor dout, struct tensor qkv, struct tensor delta,
                                      struct tensor lse, struct heads h)
{
    struct place p = place_of(h, global_thread() / WARP);
    if (p.batch >= (size_t)h.batch || p.state < 0)
        return;
    float q[OWN_ELEMENTS], own_dout[OWN_ELEMENTS], dq[OWN_ELEMENTS] = {}, scale = 1 / sqrtf((float)h.width);
    float own_lse = ((const float *)lse.data)[p.statistic + p.state];
    float own_delta = ((const float *)delta.data)[p.statistic + p.state];
    load_own(q, qkv, part_at(h, p, p.state, 0), h.width);
    load_own(own_dout, dout, out_at(h, p, p.state), h.width);
    struct keys keys = keys_of(h.view, p.index, p.index);
    int low = view_low(h.view, p.index);
    for (int n = 0; n < keys.count; n++) {
        int j = key_index(keys, n);
        if (!view_sees(h.view, p.index, low, j))
            continue;
        int key = view_state(h.view, j);
        float weight = expf(scale * dot_own(q, qkv, part_at(h, p, key, 1), h.width) - own_lse);
        float dscore = weight * (dot_own(own_dout, qkv, part_at(h, p, key, 2), h.width) - own_delta);
        add_own(dq, dscore, qkv, part_at(h, p, key, 1), h.width);
    }
    store_own(dqkv, part_at(h, p, p.state, 0), h.width, dq, scale);
}

static __global__ void keys_kernel(struct tensor dqkv, struct tensor dout, struct tensor qkv, struct tensor delta,
                                   struct tensor lse, struct heads h)
{
    struct place p = place_of(h, global_thread() / WARP);
    if (p.batch >= (size_t)h.batch || p.state < 0)
        return;
    float k[OWN_ELEMENTS], v[OWN_ELEMENTS], dk[OWN_ELEMENTS] = {}, dv[OWN_ELEMENTS] = {},
                                            scale = 1 / sqrtf((float)h.width);
    load_own(k, qkv, part_at(h, p, p.state, 1), h.width);
    load_own(v, qkv, part_at(h, p, p.state, 2), h.width);
    int begin = h.view.mask == MASK_NONE ? 0 : p.index, end = view_high(h.view, p.index);
    for (int i = begin; i < end; i++) {
        int query = view_state(h.view, i);
        if (query < 0 || !view_sees(h.view, i, view_low(h.view, i), p.index))
            continue;
        float score = scale * dot_own(k, qkv, part_at(h, p, query, 0), h.width);
        float weight = expf(score - ((const float *)lse.data)[p.statistic + query]);
        float dweight = dot_own(v, dout, out_at(h, p, query), h.width);
        add_own(dv, weight, dout, out_at(h, p, query), h.width);
        add_own(dk, weight * (dweight - ((const float *)delta.data)[p.statistic + query]), qkv, part_at(h, p, query, 0),
                h.width);
    }
    store_own(dqkv, part_at(h, p, p.state, 1), h.width, dk, scale);
    store_own(dqkv, part_at(h, p, p.state, 2), h.width, dv, 1);
}

static struct heads heads_of(const struct attention_shape *s)
{
    return {view_of(s), s->batch, s->heads, s->head_dim};
}

static unsigned blocks_of(const struct heads &h)
{
    return blocks_for((size_t)h.batch * h.heads * h.view.length * WARP, THREADS);
}

void attention_any(struct tensor out, struct tensor lse, struct tensor qkv, const struct attention_shape *s)
{
    struct heads h = heads_of(s);
    LAUNCH(forward_kernel, blocks_of(h), THREADS, 0, device_stream, out, lse, qkv, h);
}

void attention_any_backward(struct tensor dqkv, struct tensor dout, struct tensor qkv, struct tensor delta,
                            struct tensor lse, const struct attention_shape *s)
{
    struct heads h = heads_of(s);
    LAUNCH(queries_kernel, blocks_of(h), THREADS, 0, device_stream, dqkv, dout, qkv, delta, lse, h);
    LAUNCH(keys_kernel, blocks_of(h), THREADS, 0, device_stream, dqkv, dout, qkv, delta, lse, h);
}
