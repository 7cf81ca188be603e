/*
 * Attention of one image position for candidates that share their prefix. On tensor cores, a block takes one head of 16
 * candidates: its warps share out the prefix, whose keys are multiplied with all 16 queries at once, and then the
 * candidates, each with a ring of its own. The position is read on the device, so that a recorded launch serves every
 * position.
 */
#include "kernels/cuda/attention_any.h"

#define WARPS 4
#define TOGETHER 16 /* candidates of a block */
#define KEYS 32     /* of a tile */

struct step {
    enum mask mask;
    int batch, heads, width, window;
    int prefix_states, grid, half; /* half: of the conv kernel's width, rounded down */
    unsigned inverse;              /* 2^32 / the conv kernel's width, rounded up */
    int past;                      /* image positions that one sees at most, beside itself */
    const int32_t *position;
    struct tensor out, qkv, prefix, cache;
};

__device__ inline size_t query_at(const struct step &s, int candidate, int part, int head)
{
    return (((size_t)candidate * 3 + part) * s.heads + head) * s.width;
}

__device__ inline size_t prefix_at(const struct step &s, int state, int part, int head)
{
    return (((size_t)state * 3 + part) * s.heads + head) * s.width;
}

/* How far back the positions lie that one sees, of which there are s.past. */
__device__ inline int past_distance(const struct step &s, int number)
{
    int grid = s.grid, half = s.half;
    if (s.mask == MASK_COLUMN)
        return (number + 1) * grid;
    if (s.mask == MASK_ROW || number < half || 2 * half >= grid)
        return number + 1;
    number -= half;
    int row = (int)__umulhi((unsigned)number, s.inverse), column = number - row * (2 * half + 1);
    return (row + 1) * grid + half - column;
}

static int past_count(enum mask mask, int grid, int half)
{
    if (mask == MASK_ROW || mask == MASK_COLUMN)
        return mask == MASK_ROW ? grid : grid - 1;
    return 2 * half >= grid ? half * grid + half : 2 * half * (half + 1); /* its rows meet, or they do not */
}

/* Part 0: key, 1: value. */
__device__ inline size_t ring_at(const struct step &s, int candidate, int position, int part, int head)
{
    return (((size_t)candidate * s.window + position % s.window) * 2 + part) * s.heads * s.width +
           (size_t)head * s.width;
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
    int position = *s.position;
    remember(s, position, head, candidate, threadIdx.x % WARP, WARP);
    __syncwarp();
    float q[OWN_ELEMENTS], scale = 1 / sqrtf((float)s.width);
    struct online m;
    online_begin(&m, s.width);
    load_own(q, s.qkv, query_at(s, candidate, 0, head), s.width);
    for (int n = 0; n < s.prefix_states; n++) {
        float score = scale * dot_own(q, s.prefix, prefix_at(s, n, 1, head), s.width);
        online_add(&m, score, s.prefix, prefix_at(s, n, 2, head), s.width);
    }
    for (int n = -1; n < s.past; n++) {
        int back = n < 0 ? 0 : past_distance(s, n);
        if (back > position)
            continue;
        float score = scale * dot_own(q, s.cache, ring_at(s, candidate, position - back, 0, head), s.width);
        online_add(&m, score, s.cache, ring_at(s, candidate, position - back, 1, head), s.width);
    }
    store_own(s.out, ((size_t)candidate * s.heads + head) * s.width, s.width, m.o, 1 / m.total);
}

/* A warp's share of the prefix: of each candidate its softmax, most in units of log 2, and room for tiles before. */
template <int D> struct part {
    float o[D], most, total;
};
template <int D> union share {
    unsigned short tiles[2 * KEYS * tile_row<D>];
    struct part<D> parts[TOGETHER];
};

/* The warp's share of the prefix, for all candidates of the block. */
template <class T, int D>
__device__ inline void attend_prefix(const struct step &s, union share<D> *share, const unsigned short *queries,
                                     int head)
{
    int step = 3 * s.heads * s.width;
    const unsigned short *data = (const unsigned short *)s.prefix.data;
    struct vectors k = {data + prefix_at(s, 0, 1, head), step, s.width}, v = k;
    v.data = data + prefix_at(s, 0, 2, head);
    float scale = LOG2E / sqrtf((float)s.width);
    unsigned a[D / 16][4];
    struct mixture<D> m;
    begin_mixture(m);
    load_operand<D>(a, queries);
    for (int from = threadIdx.x / WARP * KEYS; from < s.prefix_states; from += WARPS * KEYS) {
        load_tiles<D, KEYS, WARP>(share->tiles, k, v, threadIdx.x % WARP,
                                  [&](int row) { return from + row < s.prefix_states ? from + row : -1; });
        copy_async_commit();
        copy_async_wait<0>();
        __syncwarp();
        float w[KEYS / 8][4] = {};
        multiply_transposed<T, D, KEYS / 8>(w, a, share->tiles);
        if (from + KEYS > s.prefix_states)
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    w[n][e] = from + own_column(n, e) < s.prefix_states ? w[n][e] : -INFINITY;
        weigh<D, KEYS / 8>(m, w, scale);
        multiply<T, D, KEYS / 8>(m.o, w, share->tiles + KEYS * tile_row<D>);
        __syncwarp();
    }
    end_mixture(m);
#pragma unroll
    for (int e = 0; e < 4; e++) {
        struct part<D> *part = &share->parts[own_row(e)];
#pragma unroll
        for (int n = 0; n < D / 8; n++)
            part->o[own_column(n, e)] = m.o[n][e];
        if (threadIdx.x % 4 == 0 && e % 2 == 0) {
            part->most = m.most[e / 2] * scale;
            part->total = m.total[e / 2];
        }
    }
}

template <class T> __device__ inline struct floats8 floats_of(uint4 x)
{
    const unsigned pair[] = {x.x, x.y, x.z, x.w};
    struct floats8 y;
#pragma unroll
    for (int j = 0; j < EACH; j++)
        y.v[j] = from_bits(T::dtype, pair[j / 2] >> j % 2 * 16 & 0xffff);
    return y;
}

/* Eight elements of a softmax's values, of one lane or several side by side; most in units of log 2. */
struct piece {
    float o[EACH], most, total;
};

__device__ inline void join(struct piece &x, const float o[EACH], float most, float total)
{
    float joint = fmaxf(x.most, most), keep = exp2_approximate(x.most - joint), add = exp2_approximate(most - joint);
#pragma unroll
    for (int j = 0; j < EACH; j++)
        x.o[j] = x.o[j] * keep + o[j] * add;
    x.total = x.total * keep + total * add;
    x.most = joint;
}

/* The ring of a warp's candidate, where the position's own key and value enter, too. LANES lanes hold a vector, the
 * warp several of them; each such group of lanes has a softmax of its own, which are joined at the end. Many loads are
 * under way at a time: this is what the time goes to. */
template <class T, int D>
__device__ inline struct piece attend_ring(const struct step &s, int position, int candidate, int head)
{
    constexpr int LANES = D / EACH, AT_ONCE = 8;
    int lane = threadIdx.x % WARP, group = lane / LANES, at = lane % LANES * EACH, slot = position % s.window;
    bool used = at < s.width;
    size_t width = (size_t)s.heads * s.width;
    const unsigned short *qkv = (const unsigned short *)s.qkv.data + query_at(s, candidate, 0, head) + at;
    unsigned short *ring = (unsigned short *)s.cache.data + ring_at(s, candidate, 0, 0, head) + at;
    const uint4 zeros = make_uint4(0, 0, 0, 0);
    uint4 own_key = used ? *(const uint4 *)(qkv + width) : zeros;
    uint4 own_value = used ? *(const uint4 *)(qkv + 2 * width) : zeros;
    struct floats8 q = floats_of<T>(used ? *(const uint4 *)qkv : zeros), own = floats_of<T>(own_value);
    if (used && group == 0) {
        *(uint4 *)(ring + 2 * width * slot) = own_key;
        *(uint4 *)(ring + 2 * width * slot + width) = own_value;
    }
#pragma unroll
    for (int j = 0; j < EACH; j++)
        q.v[j] *= LOG2E / sqrtf((float)s.width);
    auto score = [&](uint4 key) {
        struct floats8 k = floats_of<T>(key);
        float sum = 0;
#pragma unroll
        for (int j = 0; j < EACH; j++)
            sum += q.v[j] * k.v[j];
#pragma unroll
        for (int bits = LANES / 2; bits; bits /= 2)
            sum += __shfl_xor_sync(0xffffffffu, sum, bits);
        return sum;
    };
    struct piece all;
    all.most = score(own_key); /* counts in one group; in the others it is but a number to start from */
    all.total = group == 0;
#pragma unroll
    for (int j = 0; j < EACH; j++)
        all.o[j] = group == 0 ? own.v[j] : 0;
    for (int from = 0; from < s.past; from += AT_ONCE * WARP / LANES) {
        uint4 key[AT_ONCE], value[AT_ONCE];
        float weight[AT_ONCE], most = all.most;
        bool seen[AT_ONCE];
#pragma unroll
        for (int n = 0; n < AT_ONCE; n++) {
            int number = from + n * WARP / LANES + group, back = past_distance(s, number);
            seen[n] = number < s.past && back <= position;
            size_t there = 2 * width * (slot < back ? slot - back + s.window : slot - back);
            key[n] = seen[n] && used ? *(const uint4 *)(ring + there) : zeros;
            value[n] = seen[n] && used ? *(const uint4 *)(ring + there + width) : zeros;
        }
#pragma unroll
        for (int n = 0; n < AT_ONCE; n++) {
            weight[n] = score(key[n]);
            weight[n] = seen[n] ? weight[n] : -INFINITY;
            most = fmaxf(most, weight[n]);
        }
        float keep = exp2_approximate(all.most - most);
        all.most = most;
        all.total *= keep;
#pragma unroll
        for (int j = 0; j < EACH; j++)
            all.o[j] *= keep;
#pragma unroll
        for (int n = 0; n < AT_ONCE; n++) {
            struct floats8 v = floats_of<T>(value[n]);
            weight[n] = exp2_approximate(weight[n] - most);
            all.total += weight[n];
#pragma unroll
            for (int j = 0; j < EACH; j++)
                all.o[j] += weight[n] * v.v[j];
        }
    }
#pragma unroll
    for (int bits = LANES; bits < WARP; bits *= 2) {
        struct piece other;
#pragma unroll
        for (int j = 0; j < EACH; j++)
            other.o[j] = __shfl_xor_sync(0xffffffffu, all.o[j], bits);
        other.most = __shfl_xor_sync(0xffffffffu, all.most, bits);
        other.total = __shfl_xor_sync(0xffffffffu, all.total, bits);
        join(all, other.o, other.most, other.total);
    }
    return all;
}

template <class T, int D> static __global__ void __launch_bounds__(WARPS *WARP) step_kernel(struct step s)
{
    unsigned short *queries = (unsigned short *)shared_memory();
    auto *shares = (union share<D> *)(queries + TOGETHER * tile_row<D>);
    int head = blockIdx.x, first = blockIdx.y * TOGETHER, warp = threadIdx.x / WARP, position = *s.position;
    struct vectors q = {(const unsigned short *)s.qkv.data + query_at(s, 0, 0, head), 3 * s.heads * s.width, s.width};
    load_tile<D, TOGETHER, WARPS * WARP>(queries, q, threadIdx.x,
                                         [&](int row) { return first + row < s.batch ? first + row : -1; });
    copy_async_commit();
    copy_async_wait<0>();
    __syncthreads();
    attend_prefix<T, D>(s, &shares[warp], queries, head);
    __syncthreads();
    for (int i = warp; i < TOGETHER && first + i < s.batch; i += WARPS) {
        struct piece all = attend_ring<T, D>(s, position, first + i, head);
        int at = threadIdx.x % WARP * EACH;
        if (at >= s.width)
            continue; /* the first lanes have all of the vector */
        for (int j = 0; j < WARPS; j++) {
            const struct part<D> *part = &shares[j].parts[i];
            join(all, part->o + at, part->most, part->total);
        }
        unsigned out[EACH / 2];
        float scale = 1 / all.total;
        for (int j = 0; j < EACH / 2; j++)
            out[j] = T::pack(all.o[2 * j] * scale, all.o[2 * j + 1] * scale);
        *(uint4 *)((unsigned short *)s.out.data + ((size_t)(first + i) * s.heads + head) * s.width + at) =
            make_uint4(out[0], out[1], out[2], out[3]);
    }
}

template <class T, int D> static void launch(const struct step &s)
{
    size_t shared = tile_bytes<D>(TOGETHER) + WARPS * sizeof(union share<D>);
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
    struct step s = {
        .mask = shape->mask,
        .batch = shape->batch,
        .heads = shape->heads,
        .width = shape->head_dim,
        .window = attention_window(shape->mask, shape->grid, shape->kernel),
        .prefix_states = shape->prefix,
        .grid = shape->grid,
        .half = shape->kernel / 2,
        .inverse = UINT32_MAX / (shape->kernel / 2 * 2 + 1) + 1,
        .past = past_count(shape->mask, shape->grid, shape->kernel / 2),
        .position = (const int32_t *)position.data,
        .out = out,
        .qkv = qkv,
        .prefix = prefix_qkv,
        .cache = cache,
    };
    if (!attention_on_tensor_cores(shape, qkv, prefix_qkv, cache) || !aligned16(out.data))
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
