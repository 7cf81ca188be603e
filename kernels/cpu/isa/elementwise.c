/*
 * Fast kernels: elementwise operations, activations and the optimizer. Blocks of fixed length are shared out among the
 * threads.
 */
#include "kernels/cpu/isa/fast.h"
#include "kernels/cpu/isa/vecmath.h"
#include <string.h>

enum { BLOCK = 8192 };

static size_t block_count(size_t n)
{
    return (n + BLOCK - 1) / BLOCK;
}
static size_t block_end(size_t block, size_t n)
{
    return block + 1 < block_count(n) ? (block + 1) * BLOCK : n;
}

static void copy(struct tensor to, struct tensor from, size_t n)
{
    PARALLEL_FOR(n)
    for (size_t b = 0; b < block_count(n); b++)
        memcpy((float *)to.data + b * BLOCK, (const float *)from.data + b * BLOCK,
               (block_end(b, n) - b * BLOCK) * sizeof(float));
}

static void fill(struct tensor x_t, float value, size_t n)
{
    float *x = x_t.data;
    PARALLEL_FOR(n)
    for (size_t b = 0; b < block_count(n); b++)
        for (size_t i = b * BLOCK; i < block_end(b, n); i++)
            x[i] = value;
}

static void axpy(struct tensor y_t, float a, struct tensor x_t, size_t n)
{
    float *restrict y = y_t.data;
    const float *restrict x = x_t.data;
    PARALLEL_FOR(n)
    for (size_t b = 0; b < block_count(n); b++)
        for (size_t i = b * BLOCK; i < block_end(b, n); i++)
            y[i] += a * x[i];
}

static void scale(struct tensor y_t, float a, size_t n)
{
    float *y = y_t.data;
    PARALLEL_FOR(n)
    for (size_t b = 0; b < block_count(n); b++)
        for (size_t i = b * BLOCK; i < block_end(b, n); i++)
            y[i] *= a;
}

/* GELU's tanh form x / 2 (1 + tanh u) is x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3). */
static const float GELU_A = 1.5957691216f, GELU_B = 0.044715f, QUICK_GELU = 1.702f;

static void relu(float *y, const float *x, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] > 0 ? x[i] : 0;
}

static void relu_backward(float *dx, const float *dy, const float *x, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        dx[i] = x[i] > 0 ? dy[i] : 0;
}

static void gelu(float *y, const float *x, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * fast_sigmoid(GELU_A * (x[i] + GELU_B * x[i] * x[i] * x[i]));
}

static void gelu_backward(float *dx, const float *dy, const float *x, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        float square = x[i] * x[i], u = GELU_A * x[i] * (1 + GELU_B * square);
        float slope = fast_sigmoid_slope(u) * GELU_A * (1 + 3 * GELU_B * square);
        dx[i] = dy[i] * (fast_sigmoid(u) + x[i] * slope);
    }
}

static void quick_gelu(float *y, const float *x, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * fast_sigmoid(QUICK_GELU * x[i]);
}

static void quick_gelu_backward(float *dx, const float *dy, const float *x, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        float u = QUICK_GELU * x[i];
        dx[i] = dy[i] * (fast_sigmoid(u) + u * fast_sigmoid_slope(u));
    }
}

static void act(enum activation kind, struct tensor y, struct tensor x, size_t n)
{
    void (*const block)(float *, const float *, size_t) = kind == ACT_RELU   ? relu
                                                          : kind == ACT_GELU ? gelu
                                                                             : quick_gelu;
    PARALLEL_FOR(4 * n)
    for (size_t b = 0; b < block_count(n); b++)
        block((float *)y.data + b * BLOCK, (const float *)x.data + b * BLOCK, block_end(b, n) - b * BLOCK);
}

static void act_backward(enum activation kind, struct tensor dx, struct tensor dy, struct tensor x, size_t n)
{
    void (*const block)(float *, const float *, const float *, size_t) = kind == ACT_RELU   ? relu_backward
                                                                         : kind == ACT_GELU ? gelu_backward
                                                                                            : quick_gelu_backward;
    PARALLEL_FOR(4 * n)
    for (size_t b = 0; b < block_count(n); b++)
        block((float *)dx.data + b * BLOCK, (const float *)dy.data + b * BLOCK, (const float *)x.data + b * BLOCK,
              block_end(b, n) - b * BLOCK);
}

static void add_rows(struct tensor y_t, struct tensor x_t, int repeat, size_t n)
{
    PARALLEL_FOR(repeat * n)
    for (int r = 0; r < repeat; r++) {
        float *restrict y = (float *)y_t.data + r * n;
        const float *restrict x = x_t.data;
        for (size_t i = 0; i < n; i++)
            y[i] += x[i];
    }
}

static void add_rows_backward(struct tensor dx_t, struct tensor dy_t, int repeat, size_t n)
{
    float *restrict dx = dx_t.data;
    const float *restrict dy = dy_t.data;
    PARALLEL_FOR(repeat * n)
    for (size_t b = 0; b < block_count(n); b++)
        for (int r = 0; r < repeat; r++)
            for (size_t i = b * BLOCK; i < block_end(b, n); i++)
                dx[i] += dy[r * n + i];
}

static void dot(struct tensor out, struct tensor a_t, struct tensor b_t, size_t n)
{
    const float *x = a_t.data, *y = b_t.data;
    double *part = (void *)FN(scratch)(2 * block_count(n), 0).shared, total = 0;
    PARALLEL_FOR(n)
    for (size_t b = 0; b < block_count(n); b++) {
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t i = b * BLOCK; i < block_end(b, n); i++)
            sum += (double)x[i] * y[i];
        part[b] = sum;
    }
    for (size_t b = 0; b < block_count(n); b++)
        total += part[b];
    *(float *)out.data = (float)total;
}

static void lerp(struct tensor y_t, struct tensor x_t, float keep, size_t n, uint64_t key)
{
    (void)key;
    float *restrict y = y_t.data;
    const float *restrict x = x_t.data;
    PARALLEL_FOR(n)
    for (size_t b = 0; b < block_count(n); b++)
        for (size_t i = b * BLOCK; i < block_end(b, n); i++)
            y[i] += (1 - keep) * (x[i] - y[i]);
}

static void adamw(struct tensor w_t, struct tensor m_t, struct tensor v_t, struct tensor g_t, size_t n,
                  const struct adamw *h)
{
    float *restrict w = w_t.data, *restrict m = m_t.data, *restrict v = v_t.data;
    const float *restrict g = g_t.data;
    const float keep = 1 - h->lr * h->decay, beta1 = h->beta1, beta2 = h->beta2, eps = h->eps, v_max = h->v_max;
    const float rate = (float)(h->lr / (1 - pow(h->beta1, h->step))), grad_scale = h->grad_scale;
    const float v_scale = (float)(1 / (1 - pow(h->beta2, h->step)));
    PARALLEL_FOR(2 * n)
    for (size_t b = 0; b < block_count(n); b++)
        for (size_t i = b * BLOCK; i < block_end(b, n); i++) {
            float gradient = g[i] * grad_scale;
            float mean = beta1 * m[i] + (1 - beta1) * gradient;
            float variance = beta2 * v[i] + (1 - beta2) * gradient * gradient;
            m[i] = mean;
            v[i] = variance = variance < v_max ? variance : v_max;
            w[i] = w[i] * keep - rate * mean / (sqrtf(variance * v_scale) + eps);
        }
}

void FN(fast_elementwise)(struct kernels *k)
{
    k->copy = copy;
    k->fill = fill;
    k->axpy = axpy;
    k->scale = scale;
    k->act = act;
    k->act_backward = act_backward;
    k->add_rows = add_rows;
    k->add_rows_backward = add_rows_backward;
    k->dot = dot;
    k->lerp = lerp;
    k->adamw = adamw;
}
