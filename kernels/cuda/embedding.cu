/*
 * CUDA kernels: rows of a table by id.
 */
#include "kernels/cuda/device.h"

/* blockIdx.x: the row; blockIdx.y: which part of it. */
static __global__ void embed_kernel(struct tensor y, struct tensor table, const int32_t *ids, size_t d, bool accumulate)
{
    size_t row = blockIdx.x, i = (blockIdx.y * (size_t)blockDim.x + threadIdx.x) * EACH;
    int32_t id = ids[row];
    if (i >= d || (id < 0 && accumulate))
        return;
    y = row_of(y, row, d);
    struct floats8 v = {};
    if (id >= 0)
        v = load8(row_of(table, (size_t)id, d), i, d);
    if (accumulate) {
        struct floats8 old = load8(y, i, d);
        for (int j = 0; j < EACH; j++)
            v.v[j] += old.v[j];
    }
    store8(y, i, d, v);
}

static void embed(struct tensor y, struct tensor table, struct tensor ids, int rows, int d, bool accumulate)
{
    unsigned threads = row_threads((size_t)d);
    dim3 grid((unsigned)rows, blocks_for((size_t)d, threads * EACH));
    LAUNCH(embed_kernel, grid, threads, 0, device_stream, y, table, (const int32_t *)ids.data, (size_t)d, accumulate);
}

/* next [rows] = the next row of the same id, or -1; follows [rows] = 1 where a row is another's next (zeroed before).
 * A thread a row; ids pass through shared memory. */
static __global__ void link_kernel(int *next, unsigned char *follows, const int32_t *ids, int rows)
{
    auto *tile = (int32_t *)shared_memory();
    int row = (int)global_thread(), found = -1;
    int32_t id = row < rows ? ids[row] : -1;
    for (int start = (int)(blockIdx.x * blockDim.x); start < rows; start += (int)blockDim.x) {
        __syncthreads();
        int mine = start + (int)threadIdx.x;
        tile[threadIdx.x] = mine < rows ? ids[mine] : -1;
        __syncthreads();
        for (int i = 0; i < (int)blockDim.x && found < 0 && id >= 0; i++)
            if (start + i > row && tile[i] == id)
                found = start + i;
        if (__syncthreads_and(found >= 0 || id < 0))
            break;
    }
    if (row < rows)
        next[row] = found;
    if (found >= 0)
        follows[found] = 1;
}

/* The first row of each id adds all of that id, in order. */
static __global__ void embed_backward_kernel(struct tensor dtable, struct tensor dy, const int32_t *ids,
                                             const int *next, const unsigned char *follows, size_t d)
{
    int row = (int)blockIdx.x;
    size_t i = (blockIdx.y * (size_t)blockDim.x + threadIdx.x) * EACH;
    if (i >= d || ids[row] < 0 || follows[row])
        return;
    struct tensor entry = row_of(dtable, (size_t)ids[row], d);
    struct floats8 sum = load8(entry, i, d);
    while (row >= 0) {
        int after = next[row];
        struct floats8 more = load8(row_of(dy, (size_t)row, d), i, d);
        for (int j = 0; j < EACH; j++)
            sum.v[j] += more.v[j];
        row = after;
    }
    store8(entry, i, d, sum);
}

static void embed_backward(struct tensor dtable, struct tensor dy, struct tensor ids, int rows, int d)
{
    auto *next = (int *)device_scratch((size_t)rows * (sizeof(int) + 1));
    auto *follows = (unsigned char *)(next + rows);
    auto *id = (const int32_t *)ids.data;
    device_check(cudaMemsetAsync(follows, 0, (size_t)rows, device_stream), "embed_backward");
    LAUNCH(link_kernel, blocks_for(rows, THREADS), THREADS, THREADS * sizeof(int32_t), device_stream, next, follows, id,
           rows);
    unsigned threads = WARP; /* a long chain is one thread's: many blocks, each of few columns */
    dim3 grid((unsigned)rows, blocks_for((size_t)d, threads * EACH));
    LAUNCH(embed_backward_kernel, grid, threads, 0, device_stream, dtable, dy, id, (const int *)next,
           (const unsigned char *)follows, (size_t)d);
}

void cuda_embedding(struct kernels *k)
{
    k->embed = embed;
    k->embed_backward = embed_backward;
}
