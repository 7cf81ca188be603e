/*
 * Collectives over NCCL for tensors on GPUs; what is on the host stays with the table that the processes met by. In
 * which order NCCL adds up depends on the hosts and GPUs alone, so a run repeats on the same ones.
 */
#include "common/err.h"
#include "kernels/comm/comm_library.h"

#include <cuda_runtime.h>
#include <nccl.h>
#include <time.h>

#define NAP_NS 20000

static const struct comm *host;
static ncclComm_t nccl;
static cudaStream_t stream;

static int cuda_check(cudaError_t rc, const char *doing)
{
    return rc == cudaSuccess
               ? 0
               : err_set(ERR_IO, "process %d of %d, %s: %s", host->rank, host->size, doing, cudaGetErrorString(rc));
}

static int nccl_check(ncclResult_t rc, const char *doing)
{
    return rc == ncclSuccess ? 0
                             : err_set(ERR_AGAIN, "process %d of %d, %s: %s (%s)", host->rank, host->size, doing,
                                       ncclGetErrorString(rc), ncclGetLastError(nccl));
}

/* Waits for what was queued, and for the failure of another process, which CUDA alone would wait for without end. */
static int finish(const char *doing)
{
    const struct timespec nap = {0, NAP_NS};
    cudaError_t state;
    time_t begin = time(NULL);
    while ((state = cudaStreamQuery(stream)) == cudaErrorNotReady) {
        ncclResult_t failed;
        if (nccl_check(ncclCommGetAsyncError(nccl, &failed), doing) || nccl_check(failed, doing))
            return -1;
        if (time(NULL) - begin > COMM_LOST_SECONDS)
            return err_set(ERR_AGAIN, "process %d of %d, %s: no word from the others for %d minutes", host->rank,
                           host->size, doing, COMM_LOST_SECONDS / 60);
        nanosleep(&nap, NULL);
    }
    return cuda_check(state, doing);
}

/* What computes the tensors may run on other streams. */
static int settle(const char *doing)
{
    return cuda_check(cudaDeviceSynchronize(), doing);
}

static int sum(struct tensor x, size_t n)
{
    static const char DOING[] = "summing";
    ncclDataType_t type = x.dtype == BF16 ? ncclBfloat16 : x.dtype == F16 ? ncclFloat16 : ncclFloat32;
    if (settle(DOING) || nccl_check(ncclAllReduce(x.data, x.data, n, type, ncclSum, nccl, stream), DOING))
        return -1;
    return finish(DOING);
}

static int broadcast(struct tensor x, size_t n)
{
    static const char DOING[] = "sending rank 0's state to all";
    if (settle(DOING) || nccl_check(ncclBroadcast(x.data, x.data, n, ncclFloat32, 0, nccl, stream), DOING))
        return -1;
    return finish(DOING);
}

/* ncclAllGather wants equal shares. */
static int gather(struct tensor all, size_t rows, size_t d)
{
    static const char DOING[] = "gathering";
    if (settle(DOING) || nccl_check(ncclGroupStart(), DOING))
        return -1;
    for (int r = 0; r < host->size; r++) {
        size_t first = comm_first(host, rows, r), count = comm_first(host, rows, r + 1) - first;
        void *at = tensor_at(all, first * d).data;
        if (nccl_check(ncclBroadcast(at, at, count * d, ncclFloat32, r, nccl, stream), DOING))
            return -1;
    }
    return nccl_check(ncclGroupEnd(), DOING) || finish(DOING) ? -1 : 0;
}

static void end(int code)
{
    if (code)
        ncclCommAbort(nccl);
    else
        ncclCommDestroy(nccl);
    host->end(code);
}

int comm_nccl_open(const struct comm *met, struct comm *c)
{
    static const char DOING[] = "meeting on the GPUs";
    ncclUniqueId id;
    host = met;
    if (cuda_check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), DOING) ||
        (host->rank == 0 && nccl_check(ncclGetUniqueId(&id), DOING)) || host->broadcast_host(&id, sizeof id) ||
        nccl_check(ncclCommInitRank(&nccl, host->size, id, host->rank), DOING))
        return -1;
    *c = *host;
    c->name = "nccl";
    c->sum = sum;
    c->gather = gather;
    c->broadcast = broadcast;
    c->end = end;
    return 0;
}
