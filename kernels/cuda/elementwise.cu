/*
 * CUDA kernels: elementwise operations and activations.
 */
#include "kernels/cuda/device.h"

static __global__ void axpy_kernel(struct tensor y, float a, struct tensor x, size_t n)
{
    size_t i = global_thread() * EACH;
    if (i >= n)
        return;
    struct floats8 sum = load8(y, i, n), more = load8(x, i, n);
    for (int j = 0; j < EACH; j++)
        sum.v[j] += a * more.v[j];
    store8(y, i, n, sum);
}

void device_axpy(struct tensor y, float a, struct tensor x, size_t n)
{
    LAUNCH(axpy_kernel, blocks_for(n, THREADS * EACH), THREADS, 0, device_stream, y, a, x, n);
}

static __global__ void scale_kernel(struct tensor y, float a, size_t n)
{
    size_t i = global_thread() * EACH;
    if (i >= n)
        return;
    struct floats8 v = load8(y, i, n);
    for (int j = 0; j < EACH; j++)
        v.v[j] *= a;
    store8(y, i, n, v);
}

static void scale(struct tensor y, float a, size_t n)
{
    LAUNCH(scale_kernel, blocks_for(n, THREADS * EACH), THREADS, 0, device_stream, y, a, n);
}

/* GELU's tanh form: x / 2 (1 + tanh(GELU_A (x + GELU_B x^3))). */
#define GELU_A 0.79788456080286535588f /* sqrt(2 / pi) */
#define GELU_B 0.044715f
#define QUICK_GELU 1.702f

__device__ static float activate(enum activation kind, float x)
{
    switch (kind) {
    case ACT_RELU:
        return x > 0 ? x : 0;
    case ACT_GELU:
        return 0.5f * x * (1 + tanhf(GELU_A * (x + GELU_B * x * x * x)));
    default:
        return x / (1 + expf(-QUICK_GELU * x));
    }
}

__device__ static float derivative(enum activation kind, float x)
{
    switch (kind) {
    case ACT_RELU:
        return x > 0;
    case ACT_GELU: {
        float t = tanhf(GELU_A * (x + GELU_B * x * x * x)), steep = 1 - t * t;
        /* Where tanh is flat, x^2 may be infinite. */
        return 0.5f * (1 + t) + (steep == 0 ? 0 : 0.5f * x * steep * GELU_A * (1 + 3 * GELU_B * x * x));
    }
    default: {
        float s = 1 / (1 + expf(-QUICK_GELU * x));
        return s + QUICK_GELU * x * s * (1 - s);
    }
    }
}

static __global__ void act_kernel(enum activation kind, struct tensor y, struct tensor x, size_t n)
{
    size_t i = global_thread() * EACH;
    if (i >= n)
        return;
    struct floats8 v = load8(x, i, n);
    for (int j = 0; j < EACH; j++)
        v.v[j] = activate(kind, v.v[j]);
    store8(y, i, n, v);
}

void device_act(enum activation kind, struct tensor y, struct tensor x, size_t n)
{
    LAUNCH(act_kernel, blocks_for(n, THREADS * EACH), THREADS, 0, device_stream, kind, y, x, n);
}

static __global__ void act_backward_kernel(enum activation kind, struct tensor dx, struct tensor dy, struct tensor x,
                                           size_t n)
{
    size_t i = global_thread() * EACH;
    if (i >= n)
        return;
    struct floats8 v = load8(x, i, n), d = load8(dy, i, n);
    for (int j = 0; j < EACH; j++)
        d.v[j] *= derivative(kind, v.v[j]);
    store8(dx, i, n, d);
}

void device_act_backward(enum activation kind, struct tensor dx, struct tensor dy, struct tensor x, size_t n)
{
    LAUNCH(act_backward_kernel, blocks_for(n, THREADS * EACH), THREADS, 0, device_stream, kind, dx, dy, x, n);
}

/* Blocks count the repetitions of x, `parts` of them each, along one axis: the other has 65,535 at most. */
static __global__ void add_rows_kernel(struct tensor y, struct tensor x, unsigned parts, size_t n)
{
    size_t i = (blockIdx.x % parts * (size_t)blockDim.x + threadIdx.x) * EACH;
    if (i >= n)
        return;
    struct tensor row = row_of(y, blockIdx.x / parts, n);
    struct floats8 sum = load8(row, i, n), more = load8(x, i, n);
    for (int j = 0; j < EACH; j++)
        sum.v[j] += more.v[j];
    store8(row, i, n, sum);
}

static void add_rows(struct tensor y, struct tensor x, int repeat, size_t n)
{
    unsigned threads = row_threads(n), parts = blocks_for(n, threads * EACH);
    LAUNCH(add_rows_kernel, parts * (unsigned)repeat, threads, 0, device_stream, y, x, parts, n);
}

static void add_rows_backward(struct tensor dx, struct tensor dy, int repeat, size_t n)
{
    device_add_column_sums(dx, dy, (size_t)repeat, n, 1);
}

void cuda_elementwise(struct kernels *k)
{
    k->axpy = device_axpy;
    k->scale = scale;
    k->act = device_act;
    k->act_backward = device_act_backward;
    k->add_rows = add_rows;
    k->add_rows_backward = add_rows_backward;
}
