/*
 * CUDA kernels: losses with their gradients (MODELS.md, 1 and 2). A block a row of logits.
 */
#include "kernels/cuda/softmax.h"

enum { ROOM = WARP * sizeof(float), SIDE = 32, ROWS_A_PART = 64, PARTS = 64 };

static __global__ void softmax_xent_kernel(float *loss, struct tensor dlogits, struct tensor logits,
                                           const int32_t *targets, size_t classes, float scale)
{
    auto *room = (float *)shared_memory();
    size_t row = blockIdx.x;
    int32_t target = targets[row];
    logits = row_of(logits, row, classes);
    float hit = target >= 0 ? load(logits, (size_t)target) : 0; /* before the gradient may take its place */
    struct softmax s = softmax_of(logits, NULL, 1, classes, room);
    if (threadIdx.x == 0)
        loss[row] = target >= 0 ? (s.most - hit) + logf(s.total) : 0;
    if (!dlogits.data)
        return;
    dlogits = row_of(dlogits, row, classes);
    for (size_t i = threadIdx.x * (size_t)EACH; i < classes; i += blockDim.x * (size_t)EACH) {
        struct floats8 v = load8(logits, i, classes);
        for (int j = 0; j < EACH; j++)
            v.v[j] = target >= 0 ? scale * (softmax_value(&s, v.v[j]) - (i + j == (size_t)target)) : 0;
        store8(dlogits, i, classes, v);
    }
}

static void softmax_xent(struct tensor loss, struct tensor dlogits, struct tensor logits, struct tensor targets,
                         int rows, int classes, float scale)
{
    LAUNCH(softmax_xent_kernel, (unsigned)rows, row_threads((size_t)classes), ROOM, device_stream, (float *)loss.data,
           dlogits, logits, (const int32_t *)targets.data, (size_t)classes, scale);
}

/* A thread a row of three channels. */
static __global__ void logit_laplace_kernel(float *loss, struct tensor dstats, struct tensor stats, struct tensor x,
                                            size_t rows, float floor, float scale)
{
    size_t r = global_thread();
    if (r >= rows)
        return;
    float sum = 0;
    for (int c = 0; c < 3; c++) {
        float mu = load(stats, r * 6 + c), value = load(x, r * 3 + c), ln_b = fmaxf(load(stats, r * 6 + 3 + c), floor);
        float ln_x = logf(value), ln_rest = log1pf(-value), off = ln_x - ln_rest - mu, inverse = expf(-ln_b);
        float distance = fabsf(off) * inverse;
        sum += 0.69314718056f + ln_b + ln_x + ln_rest + distance;
        if (dstats.data) {
            store(dstats, r * 6 + c, scale * inverse * ((off < 0) - (off > 0)));
            store(dstats, r * 6 + 3 + c, ln_b <= floor && distance < 1 ? 0 : scale * (1 - distance));
        }
    }
    loss[r] = sum;
}

static void logit_laplace(struct tensor loss, struct tensor dstats, struct tensor stats, struct tensor x, int rows,
                          float floor, float scale)
{
    LAUNCH(logit_laplace_kernel, blocks_for(rows, THREADS), THREADS, 0, device_stream, (float *)loss.data, dstats,
           stats, x, (size_t)rows, floor, scale);
}

static __global__ void kl_uniform_kernel(float *kl, struct tensor dlogits, struct tensor logits, size_t classes,
                                         float scale)
{
    auto *room = (float *)shared_memory();
    size_t row = blockIdx.x, start = threadIdx.x * (size_t)EACH, step = blockDim.x * (size_t)EACH;
    logits = row_of(logits, row, classes);
    struct softmax s = softmax_of(logits, NULL, 1, classes, room);
    float ln_total = logf(s.total), negative_entropy = 0;
    for (size_t i = start; i < classes; i += step) {
        struct floats8 v = load8(logits, i, classes);
        for (int j = 0; j < EACH && i + j < classes; j++) {
            float p = softmax_value(&s, v.v[j]);
            negative_entropy += p > 0 ? p * (v.v[j] - s.most - ln_total) : 0;
        }
    }
    negative_entropy = block_sum(negative_entropy, room);
    if (threadIdx.x == 0)
        kl[row] = negative_entropy + logf((float)classes);
    if (!dlogits.data)
        return;
    dlogits = row_of(dlogits, row, classes);
    for (size_t i = start; i < classes; i += step) {
        struct floats8 v = load8(logits, i, classes), sum = load8(dlogits, i, classes);
        for (int j = 0; j < EACH; j++) {
            float p = softmax_value(&s, v.v[j]);
            sum.v[j] += p > 0 ? scale * p * (v.v[j] - s.most - ln_total - negative_entropy) : 0;
        }
        store8(dlogits, i, classes, sum);
    }
}

static void kl_uniform(struct tensor kl, struct tensor dlogits, struct tensor logits, int rows, int classes,
                       float scale)
{
    LAUNCH(kl_uniform_kernel, (unsigned)rows, row_threads((size_t)classes), ROOM, device_stream, (float *)kl.data,
           dlogits, logits, (size_t)classes, scale);
}

static __global__ void softmax_kernel(struct softmax *rows, struct tensor logits, size_t classes)
{
    struct softmax s = softmax_of(row_of(logits, blockIdx.x, classes), NULL, 1, classes, (float *)shared_memory());
    if (threadIdx.x == 0)
        rows[blockIdx.x] = s;
}

/* A thread a class: parts [blocks, classes] = sums over `part` rows of their softmax. */
static __global__ void code_use_kernel(float *parts, const struct softmax *softmax, struct tensor logits, size_t rows,
                                       size_t classes, size_t part)
{
    size_t i = global_thread(), first = blockIdx.y * part, end = min(first + part, rows);
    if (i >= classes)
        return;
    float sum = 0;
    for (size_t r = first; r < end; r++)
        sum += softmax_value(&softmax[r], load(logits, r * classes + i));
    parts[blockIdx.y * classes + i] = sum;
}

static void code_use(struct tensor use, struct tensor logits, int rows, int classes)
{
    size_t n = (size_t)classes, part = max((size_t)ROWS_A_PART, ((size_t)rows + PARTS - 1) / PARTS);
    unsigned blocks = blocks_for(rows, part);
    auto *softmax =
        (struct softmax *)device_scratch((size_t)rows * sizeof(struct softmax) + blocks * n * sizeof(float));
    auto *parts = (float *)(softmax + rows);
    LAUNCH(softmax_kernel, (unsigned)rows, row_threads((size_t)classes), ROOM, device_stream, softmax, logits, n);
    LAUNCH(code_use_kernel, dim3(blocks_for(n, THREADS), blocks), THREADS, 0, device_stream, parts,
           (const struct softmax *)softmax, logits, (size_t)rows, n, part);
    device_check(cudaMemsetAsync(use.data, 0, n * sizeof(float), device_stream), "code_use");
    device_add_parts(use, parts, (int)blocks, n, n, 1.0f / (float)rows);
}

static __global__ void code_use_backward_kernel(struct tensor dlogits, const float *use, struct tensor logits,
                                                size_t classes, float scale)
{
    auto *room = (float *)shared_memory();
    size_t row = blockIdx.x;
    logits = row_of(logits, row, classes);
    dlogits = row_of(dlogits, row, classes);
    struct softmax s = softmax_of(logits, NULL, 1, classes, room);
    float mean = 0;
    for (size_t i = threadIdx.x; i < classes; i += blockDim.x)
        mean += use[i] > 0 ? softmax_value(&s, load(logits, i)) * logf(use[i]) : 0;
    mean = block_sum(mean, room);
    for (size_t i = threadIdx.x; i < classes; i += blockDim.x) {
        float ln_use = use[i] > 0 ? logf(use[i]) : 0; /* a class of no use has no gradient */
        float gradient = softmax_value(&s, load(logits, i)) * (ln_use - mean);
        store(dlogits, i, load(dlogits, i) + scale * gradient);
    }
}

static void code_use_backward(struct tensor dlogits, struct tensor use, struct tensor logits, int rows, int classes,
                              float scale)
{
    LAUNCH(code_use_backward_kernel, (unsigned)rows, row_threads((size_t)classes), ROOM, device_stream, dlogits,
           (const float *)use.data, logits, (size_t)classes, scale / (float)rows);
}

void cuda_losses(struct kernels *k)
{
    k->softmax_xent = softmax_xent;
    k->logit_laplace = logit_laplace;
    k->kl_uniform = kl_uniform;
    k->code_use = code_use;
    k->code_use_backward = code_use_backward;
}
