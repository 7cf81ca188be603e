/*
 * Column sums of a matrix, in two stages at places that its shape alone fixes: of up to PARTS parts of the rows, then
 * of those.
 */
#include "kernels/cuda/device.h"

enum { PARTS = 64, LEAST_ROWS = 32 /* of a part */, SIDE = 32, ROWS_AT_ONCE = 8 };

/* Blocks of SIDE x ROWS_AT_ONCE threads: a column each, every ROWS_AT_ONCE-th row of part blockIdx.y; sums of parts are
 * kept apart, in out [parts, n]. */
static __global__ void part_sums_kernel(float *out, struct tensor x, size_t rows, size_t n, size_t part)
{
    auto *room = (float *)shared_memory();
    size_t column = blockIdx.x * (size_t)SIDE + threadIdx.x;
    size_t first = blockIdx.y * part, end = min(first + part, rows);
    double sum = 0;
    for (size_t r = first + threadIdx.y; column < n && r < end; r += ROWS_AT_ONCE)
        sum += load(x, r * n + column);
    room[threadIdx.y * SIDE + threadIdx.x] = (float)sum;
    __syncthreads();
    if (threadIdx.y > 0 || column >= n)
        return;
    for (int i = 1; i < ROWS_AT_ONCE; i++)
        sum += room[i * SIDE + threadIdx.x];
    out[blockIdx.y * n + column] = (float)sum;
}

/* dx [n] += scale times the sums over parts. */
static __global__ void add_parts_kernel(struct tensor dx, const float *sums, int parts, size_t n, size_t stride,
                                        float scale)
{
    size_t i = global_thread();
    if (i >= n)
        return;
    double sum = 0;
    for (int p = 0; p < parts; p++)
        sum += sums[p * stride + i];
    store(dx, i, load(dx, i) + scale * (float)sum);
}

void device_add_parts(struct tensor dx, const float *sums, int parts, size_t n, size_t stride, float scale)
{
    LAUNCH(add_parts_kernel, blocks_for(n, THREADS), THREADS, 0, device_stream, dx, sums, parts, n, stride, scale);
}

void device_add_column_sums(struct tensor dx, struct tensor x, size_t rows, size_t n, float scale)
{
    size_t part = max((size_t)LEAST_ROWS, (rows + PARTS - 1) / PARTS);
    unsigned parts = blocks_for(rows, part);
    auto *sums = (float *)device_scratch(parts * n * sizeof(float));
    LAUNCH(part_sums_kernel, dim3(blocks_for(n, SIDE), parts), dim3(SIDE, ROWS_AT_ONCE),
           SIDE * ROWS_AT_ONCE * sizeof(float), device_stream, sums, x, rows, n, part);
    device_add_parts(dx, sums, (int)parts, n, n, scale);
}
