/*
 * Column sums of a matrix, in two stages at places that its shape alone fixes: of up to PARTS parts of the rows, then
 * of those.
 */
#include "kernels/cuda/device.h"

enum { PARTS = 64, LEAST_ROWS = 32 /* of a part */, SIDE = 32, ROWS_AT_ONCE = 8 };
enum { ROOM = SIDE * ROWS_AT_ONCE * sizeof(double) };

/* A block has SIDE x ROWS_AT_ONCE threads, for SIDE columns. The sum of what those of a column have, for threads of
 * threadIdx.y 0. */
__device__ static double column_sum(double sum)
{
    auto *room = (double *)shared_memory();
    room[threadIdx.y * SIDE + threadIdx.x] = sum;
    __syncthreads();
    for (int i = 1; threadIdx.y == 0 && i < ROWS_AT_ONCE; i++)
        sum += room[i * SIDE + threadIdx.x];
    return sum;
}

/* out [parts, n] = sums of part blockIdx.y of the rows. */
static __global__ void part_sums_kernel(float *out, struct tensor x, size_t rows, size_t n, size_t part)
{
    size_t column = blockIdx.x * (size_t)SIDE + threadIdx.x;
    size_t first = blockIdx.y * part, end = min(first + part, rows);
    double sum = 0;
    for (size_t r = first + threadIdx.y; column < n && r < end; r += ROWS_AT_ONCE)
        sum += load(x, r * n + column);
    sum = column_sum(sum);
    if (threadIdx.y == 0 && column < n)
        out[blockIdx.y * n + column] = (float)sum;
}

/* dx [n] += scale times the sums over parts. */
static __global__ void add_parts_kernel(struct tensor dx, const float *sums, int parts, size_t n, size_t stride,
                                        float scale)
{
    size_t column = blockIdx.x * (size_t)SIDE + threadIdx.x;
    double sum = 0;
    for (int p = (int)threadIdx.y; column < n && p < parts; p += ROWS_AT_ONCE)
        sum += sums[p * stride + column];
    sum = column_sum(sum);
    if (threadIdx.y == 0 && column < n)
        store(dx, column, load(dx, column) + scale * (float)sum);
}

void device_add_parts(struct tensor dx, const float *sums, int parts, size_t n, size_t stride, float scale)
{
    LAUNCH(add_parts_kernel, blocks_for(n, SIDE), dim3(SIDE, ROWS_AT_ONCE), ROOM, device_stream, dx, sums, parts, n,
           stride, scale);
}

void device_add_column_sums(struct tensor dx, struct tensor x, size_t rows, size_t n, float scale)
{
    size_t part = max((size_t)LEAST_ROWS, (rows + PARTS - 1) / PARTS);
    unsigned parts = blocks_for(rows, part);
    auto *sums = (float *)device_scratch(parts * n * sizeof(float));
    LAUNCH(part_sums_kernel, dim3(blocks_for(n, SIDE), parts), dim3(SIDE, ROWS_AT_ONCE), ROOM, device_stream, sums, x,
           rows, n, part);
    device_add_parts(dx, sums, (int)parts, n, n, scale);
}
