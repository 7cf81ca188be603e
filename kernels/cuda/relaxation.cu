/*
 * CUDA kernels: choosing classes, relaxed (Gumbel-softmax) and the largest.
 */
#include "kernels/cuda/softmax.h"

enum { ROOM = WARP * sizeof(float) };

static __global__ void gumbel_kernel(float *noise, uint64_t key, uint64_t hi, size_t n)
{
    size_t i = global_thread() * 4;
    struct random4 words = random_philox(key, hi, i / 4);
    for (int j = 0; j < 4 && i + j < n; j++)
        noise[i + j] = -logf(-logf(random_unit(words.v[j])));
}

static void gumbel(struct tensor noise, uint64_t key, uint64_t hi, size_t n)
{
    LAUNCH(gumbel_kernel, blocks_for(n, THREADS * 4), THREADS, 0, device_stream, (float *)noise.data, key, hi, n);
}

static __global__ void gumbel_softmax_kernel(struct tensor z, struct tensor logits, const float *noise, float tau,
                                             size_t classes)
{
    size_t row = blockIdx.x;
    z = row_of(z, row, classes);
    logits = row_of(logits, row, classes);
    noise += row * classes;
    struct softmax s = softmax_of(logits, noise, tau, classes, (float *)shared_memory());
    for (size_t i = threadIdx.x; i < classes; i += blockDim.x)
        store(z, i, softmax_value(&s, (load(logits, i) + noise[i]) / tau));
}

static void gumbel_softmax(struct tensor z, struct tensor logits, struct tensor noise, float tau, int rows, int classes)
{
    LAUNCH(gumbel_softmax_kernel, (unsigned)rows, row_threads((size_t)classes), ROOM, device_stream, z, logits,
           (const float *)noise.data, tau, (size_t)classes);
}

static __global__ void gumbel_softmax_backward_kernel(struct tensor dlogits, struct tensor dz, struct tensor z,
                                                      float tau, size_t classes)
{
    size_t row = blockIdx.x, start = threadIdx.x * (size_t)EACH, step = blockDim.x * (size_t)EACH;
    dlogits = row_of(dlogits, row, classes);
    dz = row_of(dz, row, classes);
    z = row_of(z, row, classes);
    float mean = 0;
    for (size_t i = start; i < classes; i += step) {
        struct floats8 d = load8(dz, i, classes), v = load8(z, i, classes);
        for (int j = 0; j < EACH; j++)
            mean += d.v[j] * v.v[j];
    }
    mean = block_sum(mean, (float *)shared_memory());
    for (size_t i = start; i < classes; i += step) {
        struct floats8 d = load8(dz, i, classes), v = load8(z, i, classes), sum = load8(dlogits, i, classes);
        for (int j = 0; j < EACH; j++)
            sum.v[j] += v.v[j] * (d.v[j] - mean) / tau;
        store8(dlogits, i, classes, sum);
    }
}

static void gumbel_softmax_backward(struct tensor dlogits, struct tensor dz, struct tensor z, float tau, int rows,
                                    int classes)
{
    LAUNCH(gumbel_softmax_backward_kernel, (unsigned)rows, row_threads((size_t)classes), ROOM, device_stream, dlogits,
           dz, z, tau, (size_t)classes);
}

static __global__ void argmax_kernel(int32_t *ids, struct tensor x, size_t classes)
{
    int32_t id = first_largest(row_of(x, blockIdx.x, classes), classes, (unsigned long long *)shared_memory());
    if (threadIdx.x == 0)
        ids[blockIdx.x] = id;
}

void device_argmax(struct tensor ids, struct tensor x, int rows, int classes)
{
    LAUNCH(argmax_kernel, (unsigned)rows, row_threads((size_t)classes), WARP * sizeof(unsigned long long),
           device_stream, (int32_t *)ids.data, x, (size_t)classes);
}

void cuda_relaxation(struct kernels *k)
{
    k->gumbel = gumbel;
    k->gumbel_softmax = gumbel_softmax;
    k->gumbel_softmax_backward = gumbel_softmax_backward;
    k->argmax = device_argmax;
}
