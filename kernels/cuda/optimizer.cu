/*
 * CUDA kernels: what the optimizer needs. Weights of 16 bits are rounded stochastically.
 */
#include "kernels/cuda/device.h"

enum { DOT_PART = 1 << 16 /* elements of a block */ };

/* Each block sums its part in double; the last kernel sums the parts, in order. */
static __global__ void dot_kernel(double *parts, struct tensor a, struct tensor b, size_t n)
{
    size_t start = blockIdx.x * (size_t)DOT_PART, end = min(start + DOT_PART, n);
    double sum = 0;
    for (size_t i = start + threadIdx.x * EACH; i < end; i += blockDim.x * EACH) {
        struct floats8 v = load8(a, i, end), w = load8(b, i, end);
        for (int j = 0; j < EACH; j++)
            sum += (double)v.v[j] * w.v[j];
    }
    sum = block_sum(sum, (double *)shared_memory());
    if (threadIdx.x == 0)
        parts[blockIdx.x] = sum;
}

static __global__ void sum_kernel(float *out, const double *parts, int n)
{
    double sum = 0;
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x)
        sum += parts[i];
    sum = block_sum(sum, (double *)shared_memory());
    if (threadIdx.x == 0)
        *out = (float)sum;
}

static void dot(struct tensor out, struct tensor a, struct tensor b, size_t n)
{
    unsigned blocks = blocks_for(n, DOT_PART);
    auto *parts = (double *)device_scratch(blocks * sizeof(double));
    LAUNCH(dot_kernel, blocks, THREADS, WARP * sizeof(double), device_stream, parts, a, b, n);
    LAUNCH(sum_kernel, 1, THREADS, WARP * sizeof(double), device_stream, (float *)out.data, (const double *)parts,
           (int)blocks);
}

/* Words for elements i .. i + 7, i a multiple of 8. */
struct words8 {
    struct random4 half[2];
};

__device__ static struct words8 draw8(uint64_t key, size_t i)
{
    return {{random_philox(key, 0, i / 4), random_philox(key, 0, i / 4 + 1)}};
}

/* One of the two values of the type next to x, so chosen that the mean over draws is x. */
__device__ static float round_randomly(float x, enum dtype dtype, unsigned word)
{
    if (dtype == BF16)
        return isfinite(x) ? __uint_as_float((__float_as_uint(x) + (word >> 16)) & 0xffff0000u) : x;
    float low = __half2float(__float2half_rz(x));
    if (!isfinite(x) || low == x || !(fabsf(x) < 65504))
        return x;
    unsigned short bits = (unsigned short)(__half_as_ushort(__float2half_rz(x)) + 1);
    float next = __half2float(__ushort_as_half(bits)); /* further from zero */
    return random_unit(word) < (x - low) / (next - low) ? next : low;
}

__device__ static void store8_randomly(struct tensor t, size_t i, size_t n, struct floats8 x, uint64_t key)
{
    if (t.dtype != F32) {
        struct words8 words = draw8(key, i);
        for (int j = 0; j < EACH; j++)
            x.v[j] = round_randomly(x.v[j], t.dtype, words.half[j / 4].v[j % 4]);
    }
    store8(t, i, n, x);
}

static __global__ void lerp_kernel(struct tensor y, struct tensor x, float change, size_t n, uint64_t key)
{
    size_t i = global_thread() * EACH;
    if (i >= n)
        return;
    struct floats8 v = load8(y, i, n), goal = load8(x, i, n);
    for (int j = 0; j < EACH; j++)
        v.v[j] += change * (goal.v[j] - v.v[j]);
    store8_randomly(y, i, n, v, key);
}

static void lerp(struct tensor y, struct tensor x, float keep, size_t n, uint64_t key)
{
    LAUNCH(lerp_kernel, blocks_for(n, THREADS * EACH), THREADS, 0, device_stream, y, x, 1 - keep, n, key);
}

/* AdamW's constants of one step; `mean` and `variance` are the share of the new gradient. */
struct step {
    float beta1, mean, beta2, variance, mean_bias, variance_bias, lr, keep, eps, v_max, grad_scale;
    uint64_t key;
};

static __global__ void adamw_kernel(struct tensor w, struct tensor m, struct tensor v, struct tensor g, size_t n,
                                    struct step s)
{
    size_t i = global_thread() * EACH;
    if (i >= n)
        return;
    struct floats8 weight = load8(w, i, n), mean = load8(m, i, n), variance = load8(v, i, n), gradient = load8(g, i, n);
    for (int j = 0; j < EACH; j++) {
        float d = gradient.v[j] * s.grad_scale;
        mean.v[j] = s.beta1 * mean.v[j] + s.mean * d;
        variance.v[j] = fminf(s.beta2 * variance.v[j] + s.variance * d * d, s.v_max);
        weight.v[j] =
            weight.v[j] * s.keep - s.lr * (mean.v[j] * s.mean_bias) / (sqrtf(variance.v[j] * s.variance_bias) + s.eps);
    }
    store8(m, i, n, mean);
    store8(v, i, n, variance);
    store8_randomly(w, i, n, weight, s.key);
}

static void adamw(struct tensor w, struct tensor m, struct tensor v, struct tensor g, size_t n, const struct adamw *h)
{
    struct step s = {h->beta1,
                     (float)(1 - (double)h->beta1),
                     h->beta2,
                     (float)(1 - (double)h->beta2),
                     (float)(1 / (1 - pow(h->beta1, h->step))),
                     (float)(1 / (1 - pow(h->beta2, h->step))),
                     h->lr,
                     (float)(1 - (double)h->lr * h->decay),
                     h->eps,
                     h->v_max,
                     h->grad_scale,
                     h->key};
    LAUNCH(adamw_kernel, blocks_for(n, THREADS * EACH), THREADS, 0, device_stream, w, m, v, g, n, s);
}

void cuda_optimizer(struct kernels *k)
{
    k->dot = dot;
    k->lerp = lerp;
    k->adamw = adamw;
}
