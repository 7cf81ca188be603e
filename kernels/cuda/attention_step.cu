/*
 * Attention of one image position for candidates that share their prefix. On tensor cores, a block takes one head of 16
 * candidates: its warps share out the prefix, whose keys are multiplied with all 16 queries at once, and then the
 * candidates, each with a ring of its own; last, these parts of a softmax are put together. The position is read on the
 * device, so that a recorded launch serves every position.
 */
#include "kernels/cuda/attention_any.h"

#define WARPS 4
#define TOGETHER 16 /* candidates of a block */
#define KEYS 64
#define PARTS (WARPS + 1) /* of a candidate's softmax: each warp's share of the prefix, and its ring */

struct step {
    struct view view;
    int batch, heads, width, window;
    int most; /* keys of the image that a position sees */
    const int32_t *position;
    struct tensor out, qkv, prefix, cache;
};

/* The position's index, and what it sees; keys from keys.split on lie in the ring. */
struct now {
    int position, index, low;
    struct keys keys;
};

__device__ inline struct now now_of(const struct step &s)
{
    struct now now;
    int grid = s.view.grid, p = *s.position;
    now.position = p;
    now.index = s.view.prefix + (s.view.mask == MASK_COLUMN ? p % grid * grid + p / grid : p);
    now.low = view_low(s.view, now.index);
    now.keys = keys_of(s.view, now.index, now.index);
    return now;
}

__device__ inline size_t query_at(const struct step &s, int candidate, int part, int head)
{
    return (((size_t)candidate * 3 + part) * s.heads + head) * s.width;
}

__device__ inline size_t prefix_at(const struct step &s, int state, int part, int head)
{
    return (((size_t)state * 3 + part) * s.heads + head) * s.width;
}

/* Part 0: key, 1: value. */
__device__ inline size_t ring_at(const struct step &s, int candidate, int position, int part, int head)
{
    return (((size_t)candidate * s.window + position % s.window) * 2 + part) * s.heads * s.width +
           (size_t)head * s.width;
}

__device__ inline int ring_position(const struct step &s, const struct now &now, int number)
{
    return view_state(s.view, key_index(now.keys, number)) - s.view.prefix;
}

/* The position's own key and value enter the ring: its elements first, first + step, ... */
__device__ inline void remember(const struct step &s, int position, int head, int candidate, int first, int step)
{
    for (int part = 0; part < 2; part++)
        for (int i = first; i < s.width; i += step)
            store(s.cache, ring_at(s, candidate, position, part, head) + i,
                  load(s.qkv, query_at(s, candidate, 1 + part, head) + i));
}

/* Any type and width: a warp a candidate and head. */
static __global__ void step_any_kernel(struct step s)
{
    size_t warp = global_thread() / WARP;
    int head = warp % s.heads, candidate = warp / s.heads;
    if (candidate >= s.batch)
        return;
    struct now now = now_of(s);
    remember(s, now.position, head, candidate, threadIdx.x % WARP, WARP);
    __syncwarp();
    float q[OWN_ELEMENTS], scale = 1 / sqrtf((float)s.width);
    struct online m;
    online_begin(&m, s.width);
    load_own(q, s.qkv, query_at(s, candidate, 0, head), s.width);
    for (int n = 0; n < now.keys.count; n++) {
        if (n < now.keys.split) {
            float score = scale * dot_own(q, s.prefix, prefix_at(s, n, 1, head), s.width);
            online_add(&m, score, s.prefix, prefix_at(s, n, 2, head), s.width);
        } else if (view_sees(s.view, now.index, now.low, key_index(now.keys, n))) {
            int at = ring_position(s, now, n);
            float score = scale * dot_own(q, s.cache, ring_at(s, candidate, at, 0, head), s.width);
            online_add(&m, score, s.cache, ring_at(s, candidate, at, 1, head), s.width);
        }
    }
    store_own(s.out, ((size_t)candidate * s.heads + head) * s.width, s.width, m.o, 1 / m.total);
}

/* A part of a candidate's softmax, in shared memory; most in units of log 2. */
template <int D> struct part {
    float o[D], most, total;
};

/* The warp's share of the prefix, for all candidates of the block: parts[candidate][warp]. */
template <class T, int D>
__device__ inline void attend_prefix(const struct step &s, struct part<D> (*parts)[PARTS], unsigned short *tile,
                                     const unsigned short *queries, int head)
{
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    float o[D / 8][4] = {}, most[2] = {-INFINITY, -INFINITY}, total[2] = {}, scale = LOG2E / sqrtf((float)s.width);
    unsigned a[D / 16][4];
    load_operand<D>(a, queries);
    for (int from = warp * KEYS; from < s.view.prefix; from += WARPS * KEYS) {
        for (int i = lane; i < KEYS * D / 8; i += WARP) {
            int row = i / (D / 8), at = i % (D / 8) * 8, state = from + row;
            bool valid = state < s.view.prefix && at < s.width;
            const unsigned short *data = (const unsigned short *)s.prefix.data;
            for (int part = 0; part < 2; part++)
                copy_async(tile + (part * KEYS + row) * tile_row<D> + at,
                           data + (valid ? prefix_at(s, state, 1 + part, head) + at : 0), valid);
        }
        copy_async_commit();
        copy_async_wait<0>();
        __syncwarp();
        float w[KEYS / 8][4] = {};
        multiply_transposed<T, D, KEYS / 8>(w, a, tile);
        for (int half = 0; half < 2; half++) {
            float next = most[half];
            for (int n = 0; n < KEYS / 8; n++)
                for (int e = 2 * half; e < 2 * half + 2; e++) {
                    w[n][e] = from + own_column(n, e) < s.view.prefix ? w[n][e] * scale : -INFINITY;
                    next = fmaxf(next, w[n][e]);
                }
            next = fmaxf(next, __shfl_xor_sync(0xffffffffu, next, 1));
            next = fmaxf(next, __shfl_xor_sync(0xffffffffu, next, 2));
            float keep = exp2f(most[half] - next);
            total[half] *= keep;
            for (int n = 0; n < KEYS / 8; n++)
                for (int e = 2 * half; e < 2 * half + 2; e++) {
                    w[n][e] = exp2f(w[n][e] - next);
                    total[half] += w[n][e];
                }
            for (int n = 0; n < D / 8; n++) {
                o[n][2 * half] *= keep;
                o[n][2 * half + 1] *= keep;
            }
            most[half] = next;
        }
        multiply<T, D, KEYS / 8>(o, w, tile + KEYS * tile_row<D>);
        __syncwarp();
    }
    for (int half = 0; half < 2; half++) {
        total[half] += __shfl_xor_sync(0xffffffffu, total[half], 1);
        total[half] += __shfl_xor_sync(0xffffffffu, total[half], 2);
    }
    for (int n = 0; n < D / 8; n++)
        for (int e = 0; e < 4; e++) {
            struct part<D> *part = &parts[own_row(e)][warp];
            part->o[own_column(n, e)] = o[n][e];
            part->most = most[e / 2];
            part->total = total[e / 2];
        }
}

/* One candidate's ring: parts[candidate][WARPS], by a warp, keys side by side for scores, then elements for values. */
template <int D>
__device__ inline void attend_ring(const struct step &s, const struct now &now, struct part<D> *part, int candidate,
                                   int head, float *weights)
{
    int lane = threadIdx.x % WARP, count = now.keys.count - now.keys.split;
    float most = -INFINITY, total = 0, scale = LOG2E / sqrtf((float)s.width);
    for (int n = lane; n < count; n += WARP) {
        float score = -INFINITY;
        if (view_sees(s.view, now.index, now.low, key_index(now.keys, now.keys.split + n))) {
            size_t key = ring_at(s, candidate, ring_position(s, now, now.keys.split + n), 0, head);
            float sum = 0;
            for (int i = 0; i < s.width; i += EACH) {
                struct floats8 x = load8(s.qkv, query_at(s, candidate, 0, head) + i, SIZE_MAX);
                struct floats8 y = load8(s.cache, key + i, SIZE_MAX);
                for (int j = 0; j < EACH; j++)
                    sum += x.v[j] * y.v[j];
            }
            score = sum * scale;
        }
        weights[n] = score;
        most = fmaxf(most, score);
    }
    most = warp_max(most);
    for (int n = lane; n < count; n += WARP) {
        weights[n] = exp2f(weights[n] - most);
        total += weights[n];
    }
    total = warp_sum(total);
    __syncwarp();
    for (int i = lane; i < s.width; i += WARP) {
        float o = 0;
        for (int n = 0; n < count; n++)
            if (weights[n] > 0)
                o += weights[n] *
                     load(s.cache, ring_at(s, candidate, ring_position(s, now, now.keys.split + n), 1, head) + i);
        part->o[i] = o;
    }
    if (lane == 0) {
        part->most = most;
        part->total = total;
    }
    __syncwarp();
}

template <class T, int D> static __global__ void __launch_bounds__(WARPS *WARP) step_kernel(struct step s)
{
    unsigned short *queries = (unsigned short *)shared_memory(), *tiles = queries + TOGETHER * tile_row<D>;
    struct part<D>(*parts)[PARTS] = (struct part<D>(*)[PARTS])(tiles + WARPS * 2 * KEYS * tile_row<D>);
    float *weights = (float *)(parts + TOGETHER);
    int head = blockIdx.x, first = blockIdx.y * TOGETHER, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    struct now now = now_of(s);
    struct vectors q = {(const unsigned short *)s.qkv.data + (size_t)head * s.width, (size_t)3 * s.heads * s.width,
                        s.width};
    load_tile<D>(queries, q, TOGETHER, [&](int row) { return first + row < s.batch ? first + row : -1; });
    copy_async_commit();
    for (int i = warp; i < TOGETHER && first + i < s.batch; i += WARPS)
        remember(s, now.position, head, first + i, lane, WARP);
    copy_async_wait<0>();
    __syncthreads();
    attend_prefix<T, D>(s, parts, tiles + warp * 2 * KEYS * tile_row<D>, queries, head);
    for (int i = warp; i < TOGETHER && first + i < s.batch; i += WARPS)
        attend_ring<D>(s, now, &parts[i][WARPS], first + i, head, weights + warp * s.most);
    __syncthreads();
    for (int i = threadIdx.x; i < TOGETHER * s.width; i += blockDim.x) {
        int candidate = i / s.width, at = i % s.width;
        if (first + candidate >= s.batch)
            break;
        const struct part<D> *p = parts[candidate];
        float most = -INFINITY, o = 0, total = 0;
        for (int j = 0; j < PARTS; j++)
            most = fmaxf(most, p[j].most);
        for (int j = 0; j < PARTS; j++) {
            float weight = exp2f(p[j].most - most);
            o += weight * p[j].o[at];
            total += weight * p[j].total;
        }
        store(s.out, ((size_t)(first + candidate) * s.heads + head) * s.width + at, o / total);
    }
}

template <class T, int D> static void launch(const struct step &s)
{
    size_t shared = tile_bytes<D>(TOGETHER + WARPS * 2 * KEYS) + TOGETHER * PARTS * sizeof(struct part<D>) +
                    (size_t)WARPS * s.most * sizeof(float);
    device_allow_shared(step_kernel<T, D>, shared);
    LAUNCH((step_kernel<T, D>), dim3(s.heads, blocks_for(s.batch, TOGETHER)), WARPS * WARP, shared, device_stream, s);
}

template <class T> static void launch_width(const struct step &s)
{
    if (s.width <= 32)
        launch<T, 32>(s);
    else if (s.width <= 64)
        launch<T, 64>(s);
    else
        launch<T, 128>(s);
}

static void attention_step(struct tensor out, struct tensor qkv, struct tensor prefix_qkv, struct tensor cache,
                           struct tensor position, const struct attention_shape *shape)
{
    struct attention_shape whole = *shape;
    whole.states = shape->prefix + shape->grid * shape->grid;
    struct step s = {
        .view = view_of(&whole),
        .batch = shape->batch,
        .heads = shape->heads,
        .width = shape->head_dim,
        .window = attention_window(shape->mask, shape->grid, shape->kernel),
        .most = attention_window(shape->mask == MASK_COLUMN ? MASK_ROW : shape->mask, shape->grid, shape->kernel),
        .position = (const int32_t *)position.data,
        .out = out,
        .qkv = qkv,
        .prefix = prefix_qkv,
        .cache = cache,
    };
    if (!attention_on_tensor_cores(shape, qkv, prefix_qkv, cache))
        LAUNCH(step_any_kernel, blocks_for((size_t)s.batch * s.heads * WARP, THREADS), THREADS, 0, device_stream, s);
    else if (qkv.dtype == BF16)
        launch_width<bf16>(s);
    else
        launch_width<f16>(s);
}

void cuda_attention_step(struct kernels *k)
{
    k->attention_step = attention_step;
}
