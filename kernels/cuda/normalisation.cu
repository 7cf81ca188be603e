/*
 * CUDA kernels: layer normalisation and unit length. A warp a row, but where columns are summed too.
 */
#include "kernels/cuda/device.h"

#define EPSILON 1e-5f

enum { ROWS_A_BLOCK = THREADS / WARP, LANE_STEP = WARP * EACH, ROWS_A_PART = 8, PARTS = 512 };

__device__ static size_t warp_row(void)
{
    return blockIdx.x * (size_t)ROWS_A_BLOCK + threadIdx.x / WARP;
}

__device__ static size_t lane_start(void)
{
    return threadIdx.x % WARP * (size_t)EACH;
}

__device__ static float sum8(const struct floats8 &x)
{
    return ((x.v[0] + x.v[1]) + (x.v[2] + x.v[3])) + ((x.v[4] + x.v[5]) + (x.v[6] + x.v[7]));
}

/* The row stays in the nearest cache from the first of its three readings on. */
static __global__ void layernorm_kernel(struct tensor y, float *mean, float *rstd, struct tensor x, const float *gain,
                                        const float *bias, int rows, size_t d)
{
    size_t row = warp_row();
    if (row >= (size_t)rows)
        return;
    x = row_of(x, row, d);
    y = row_of(y, row, d);
    float sum = 0, squares = 0;
    for (size_t i = lane_start(); i < d; i += LANE_STEP)
        sum += sum8(load8(x, i, d));
    float m = warp_sum(sum) / d;
    for (size_t i = lane_start(); i < d; i += LANE_STEP) {
        struct floats8 v = load8(x, i, d);
        for (int j = 0; j < EACH; j++)
            squares += i + j < d ? (v.v[j] - m) * (v.v[j] - m) : 0;
    }
    float s = 1 / sqrtf(warp_sum(squares) / d + EPSILON);
    for (size_t i = lane_start(); i < d; i += LANE_STEP) {
        struct floats8 v = load8(x, i, d), g = load8({(void *)gain, F32}, i, d), b = load8({(void *)bias, F32}, i, d);
        for (int j = 0; j < EACH; j++)
            v.v[j] = (v.v[j] - m) * s * g.v[j] + b.v[j];
        store8(y, i, d, v);
    }
    if (threadIdx.x % WARP == 0) {
        mean[row] = m;
        rstd[row] = s;
    }
}

static void layernorm(struct tensor y, struct tensor mean, struct tensor rstd, struct tensor x, struct tensor gain,
                      struct tensor bias, int rows, int d)
{
    LAUNCH(layernorm_kernel, blocks_for(rows, ROWS_A_BLOCK), THREADS, 0, device_stream, y, (float *)mean.data,
           (float *)rstd.data, x, (const float *)gain.data, (const float *)bias.data, rows, (size_t)d);
}

/* A block takes `part` rows, one after the other. Each thread sums the gradients of gain and bias of its own columns in
 * shared memory, where a row of eight holds those of eight columns' first elements, then of their second ones and so
 * on, and leaves them in sums [parts, 2, d]. */
static __global__ void layernorm_backward_kernel(struct tensor dx, float *sums, struct tensor dy, struct tensor x,
                                                 const float *mean, const float *rstd, const float *gain, size_t rows,
                                                 size_t d, size_t part, float scale)
{
    size_t step = blockDim.x * (size_t)EACH, start = threadIdx.x * (size_t)EACH, eighths = (d + EACH - 1) / EACH;
    float *room = (float *)shared_memory(), *dgain = room + WARP, *dbias = dgain + eighths * EACH;
    for (size_t i = start; i < d; i += step)
        for (int j = 0; j < EACH; j++)
            dgain[i / EACH + j * eighths] = dbias[i / EACH + j * eighths] = 0;
    size_t end = min((blockIdx.x + 1) * part, rows);
    for (size_t r = blockIdx.x * part; r < end; r++) {
        struct tensor dx_row = row_of(dx, r, d), dy_row = row_of(dy, r, d), x_row = row_of(x, r, d);
        float m = mean[r], s = rstd[r], along_one = 0, along_x = 0;
        for (size_t i = start; i < d; i += step) {
            struct floats8 v = load8(x_row, i, d), g = load8(dy_row, i, d), w = load8({(void *)gain, F32}, i, d);
            for (int j = 0; j < EACH; j++) {
                float unit = (v.v[j] - m) * s, weighted = g.v[j] * w.v[j]; /* beyond the row, g and w are zero */
                along_one += weighted;
                along_x += weighted * unit;
                dgain[i / EACH + j * eighths] += g.v[j] * unit;
                dbias[i / EACH + j * eighths] += g.v[j];
            }
        }
        along_one = block_sum(along_one, room) / d;
        along_x = block_sum(along_x, room) / d;
        if (!isfinite(along_one) || !isfinite(along_x))
            continue;
        for (size_t i = start; i < d; i += step) {
            struct floats8 v = load8(x_row, i, d), g = load8(dy_row, i, d), w = load8({(void *)gain, F32}, i, d);
            struct floats8 sum = load8(dx_row, i, d);
            for (int j = 0; j < EACH; j++)
                sum.v[j] += scale * s * (g.v[j] * w.v[j] - along_one - (v.v[j] - m) * s * along_x);
            store8(dx_row, i, d, sum);
        }
    }
    for (size_t i = start; i < d; i += step)
        for (int j = 0; j < EACH && i + j < d; j++) {
            sums[blockIdx.x * 2 * d + i + j] = dgain[i / EACH + j * eighths];
            sums[blockIdx.x * 2 * d + d + i + j] = dbias[i / EACH + j * eighths];
        }
}

static void layernorm_backward(struct tensor dx, struct tensor dgain, struct tensor dbias, struct tensor dy,
                               struct tensor x, struct tensor mean, struct tensor rstd, struct tensor gain, int rows,
                               int d, float scale)
{
    size_t n = (size_t)d, part = max((size_t)ROWS_A_PART, ((size_t)rows + PARTS - 1) / PARTS);
    unsigned parts = blocks_for(rows, part);
    auto *sums = (float *)device_scratch(parts * 2 * n * sizeof(float));
    size_t shared = (WARP + 2 * ((n + EACH - 1) / EACH * EACH)) * sizeof(float);
    device_allow_shared(layernorm_backward_kernel, shared);
    LAUNCH(layernorm_backward_kernel, parts, row_threads(n), shared, device_stream, dx, sums, dy, x,
           (const float *)mean.data, (const float *)rstd.data, (const float *)gain.data, (size_t)rows, n, part, scale);
    device_add_parts(dgain, sums, (int)parts, n, 2 * n, 1);
    device_add_parts(dbias, sums + n, (int)parts, n, 2 * n, 1);
}

static __global__ void l2norm_kernel(struct tensor y, float *norm, struct tensor x, int rows, size_t d)
{
    size_t row = warp_row();
    if (row >= (size_t)rows)
        return;
    x = row_of(x, row, d);
    y = row_of(y, row, d);
    float squares = 0;
    for (size_t i = lane_start(); i < d; i += LANE_STEP) {
        struct floats8 v = load8(x, i, d);
        for (int j = 0; j < EACH; j++)
            squares += v.v[j] * v.v[j];
    }
    float length = sqrtf(warp_sum(squares));
    for (size_t i = lane_start(); i < d; i += LANE_STEP) {
        struct floats8 v = load8(x, i, d);
        for (int j = 0; j < EACH; j++)
            v.v[j] /= length;
        store8(y, i, d, v);
    }
    if (threadIdx.x % WARP == 0)
        norm[row] = length;
}

static void l2norm(struct tensor y, struct tensor norm, struct tensor x, int rows, int d)
{
    LAUNCH(l2norm_kernel, blocks_for(rows, ROWS_A_BLOCK), THREADS, 0, device_stream, y, (float *)norm.data, x, rows,
           (size_t)d);
}

static __global__ void l2norm_backward_kernel(struct tensor dx, struct tensor dy, struct tensor y, const float *norm,
                                              int rows, size_t d)
{
    size_t row = warp_row();
    if (row >= (size_t)rows)
        return;
    dx = row_of(dx, row, d);
    dy = row_of(dy, row, d);
    y = row_of(y, row, d);
    float along = 0;
    for (size_t i = lane_start(); i < d; i += LANE_STEP) {
        struct floats8 g = load8(dy, i, d), v = load8(y, i, d);
        for (int j = 0; j < EACH; j++)
            along += g.v[j] * v.v[j];
    }
    along = warp_sum(along);
    for (size_t i = lane_start(); i < d; i += LANE_STEP) {
        struct floats8 g = load8(dy, i, d), v = load8(y, i, d);
        for (int j = 0; j < EACH; j++)
            g.v[j] = (g.v[j] - along * v.v[j]) / norm[row];
        store8(dx, i, d, g);
    }
}

static void l2norm_backward(struct tensor dx, struct tensor dy, struct tensor y, struct tensor norm, int rows, int d)
{
    LAUNCH(l2norm_backward_kernel, blocks_for(rows, ROWS_A_BLOCK), THREADS, 0, device_stream, dx, dy, y,
           (const float *)norm.data, rows, (size_t)d);
}

void cuda_normalisation(struct kernels *k)
{
    k->layernorm = layernorm;
    k->layernorm_backward = layernorm_backward;
    k->l2norm = l2norm;
    k->l2norm_backward = l2norm_backward;
}
