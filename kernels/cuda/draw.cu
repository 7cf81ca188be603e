/*
 * CUDA kernels: drawing classes, as the plain kernels do: weights in double, cut by top_k, then top_p, inverted in the
 * order of classes. Sums are of consecutive classes by each thread and then over threads, where the plain kernel has
 * one running sum: the choice can differ only where a uniform lies within a rounding of double from a class's edge.
 */
#include "kernels/cuda/softmax.h"

enum { DRAW_THREADS = 512, SHARED_BYTES = 99 << 10 /* what every device from compute capability 8.0 on has */ };

/* Classes by weight, the heaviest first, the first of equals first. */
struct ranked {
    double *weight;
    int *class_id;
};

__device__ static bool before(double weight, int class_id, double other, int other_id)
{
    return weight > other || (weight == other && class_id < other_id);
}

/* A bitonic sort of `size` entries, a power of two. */
__device__ static void sort(struct ranked r, int size)
{
    for (int block = 2; block <= size; block *= 2)
        for (int step = block / 2; step; step /= 2) {
            for (int n = (int)threadIdx.x; n < size / 2; n += (int)blockDim.x) {
                int i = n / step * 2 * step + n % step, j = i + step;
                bool forwards = (i & block) == 0;
                double a = r.weight[i], b = r.weight[j];
                int a_id = r.class_id[i], b_id = r.class_id[j];
                if (before(b, b_id, a, a_id) == forwards) {
                    r.weight[i] = b;
                    r.weight[j] = a;
                    r.class_id[i] = b_id;
                    r.class_id[j] = a_id;
                }
            }
            __syncthreads();
        }
}

/* The sum of all lower threads' values; *total: of all. `room`: 32 doubles. */
__device__ static double sum_before(double mine, double *room, double *total)
{
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    double upto = mine;
    for (int by = 1; by < WARP; by *= 2) {
        double lower = __shfl_up_sync(0xffffffffu, upto, by);
        upto += lane >= by ? lower : 0;
    }
    double sum = __shfl_up_sync(0xffffffffu, upto, 1);
    if (lane == 0)
        sum = 0;
    __syncthreads();
    if (lane == WARP - 1)
        room[warp] = upto;
    __syncthreads();
    double before = 0;
    *total = 0;
    for (int i = 0; i < (int)blockDim.x / WARP; i++) {
        before = i == warp ? *total : before;
        *total += room[i];
    }
    return before + sum;
}

/* What each thread takes of n things: from first to end. */
struct share {
    int first, end;
};

__device__ static struct share share_of(int n)
{
    int each = (n + (int)blockDim.x - 1) / (int)blockDim.x, first = (int)threadIdx.x * each;
    return {min(first, n), min(first + each, n)};
}

/* How many of the heaviest are kept. */
__device__ static int count_kept(struct ranked r, int classes, const struct draw *d, double *room,
                                 unsigned long long *places)
{
    int kept = d->top_k > 0 && d->top_k < classes ? d->top_k : classes;
    if (d->top_p >= 1)
        return kept;
    struct share s = share_of(kept);
    double mine = 0, total;
    for (int i = s.first; i < s.end; i++)
        mine += r.weight[i];
    double so_far = sum_before(mine, room, &total);
    int last = 0;
    for (int i = s.first; i < s.end; i++) {
        if (so_far < d->top_p * total)
            last = i;
        so_far += r.weight[i];
    }
    return 1 + (int)block_max((unsigned long long)last, 0ull, places);
}

/* One block a row. Shared memory: places for reductions [32], doubles [32], and the ranking where it fits. */
static __global__ void draw_kernel(int32_t *ids, struct tensor logits, const float *uniforms, int classes,
                                   struct draw d, int ranks, char *outside)
{
    auto *places = (unsigned long long *)shared_memory();
    auto *room = (double *)(places + WARP);
    size_t row = blockIdx.x;
    logits = row_of(logits, row, (size_t)classes);
    double most = load(logits, (size_t)first_largest(logits, (size_t)classes, places));
    double least_weight = 0;
    int last_id = classes; /* the lightest that is kept */
    if (ranks) {
        struct ranked r;
        r.weight = outside ? (double *)(outside + row * ranks * (sizeof(double) + sizeof(int))) : room + WARP;
        r.class_id = (int *)(r.weight + ranks);
        for (int i = (int)threadIdx.x; i < ranks; i += (int)blockDim.x) {
            r.weight[i] = i < classes ? exp((load(logits, (size_t)i) - most) / d.temperature) : -1;
            r.class_id[i] = i;
        }
        __syncthreads();
        sort(r, ranks);
        int kept = count_kept(r, classes, &d, room, places);
        least_weight = r.weight[kept - 1];
        last_id = r.class_id[kept - 1];
    }
    struct share s = share_of(classes);
    double mine = 0, total;
    for (int i = s.first; i < s.end; i++) {
        double weight = exp((load(logits, (size_t)i) - most) / d.temperature);
        mine += before(least_weight, last_id, weight, i) ? 0 : weight;
    }
    double so_far = sum_before(mine, room, &total), goal = uniforms[row] * total;
    int chosen = 0;
    for (int i = s.first; i < s.end && so_far <= goal; i++) {
        double weight = exp((load(logits, (size_t)i) - most) / d.temperature);
        if (weight > 0 && !before(least_weight, last_id, weight, i)) {
            so_far += weight;
            chosen = i;
        }
    }
    int id = (int)block_max((unsigned long long)chosen, 0ull, places);
    if (threadIdx.x == 0)
        ids[row] = id;
}

static void draw(struct tensor ids, struct tensor logits, struct tensor uniforms, int rows, int classes,
                 const struct draw *d)
{
    if (d->temperature == 0) {
        device_argmax(ids, logits, rows, classes);
        return;
    }
    int ranks = 1;
    while (ranks < classes)
        ranks *= 2;
    if (d->top_k <= 0 && d->top_p >= 1)
        ranks = 0;
    size_t shared = WARP * sizeof(unsigned long long) + WARP * sizeof(double),
           more = ranks * (sizeof(double) + sizeof(int));
    char *outside = NULL;
    if (shared + more <= SHARED_BYTES)
        shared += more;
    else
        outside = (char *)device_scratch((size_t)rows * more);
    device_allow_shared(draw_kernel, shared);
    LAUNCH(draw_kernel, (unsigned)rows, min(blocks_for(classes, WARP) * WARP, (unsigned)DRAW_THREADS), shared,
           device_stream, (int32_t *)ids.data, logits, (const float *)uniforms.data, classes, *d, ranks, outside);
}

void cuda_draw(struct kernels *k)
{
    k->draw = draw;
}
