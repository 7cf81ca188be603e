/*
 * Collectives over NCCL for tensors on GPUs. The processes meet by MPI, whose table also moves what is on the host.
 * A process uses the GPU of its local rank among those that it sees: with four visible, the four processes of a host
 * have one each; where the launcher shows each process its own alone (srun --gpus-per-task), that one.
 * In which order NCCL adds up depends on the hosts and GPUs alone, so a run repeats on the same ones.
 */
#include "common/err.h"
#include "kernels/comm/comm_library.h"

#include <cuda_runtime.h>
#include <mpi.h>
#include <nccl.h>
#include <time.h>

#define NAP_NS 20000
#define LOST_SECONDS 1800

static struct comm mpi;
static ncclComm_t nccl;
static cudaStream_t stream;

static int cuda_check(cudaError_t rc, const char *doing)
{
    return rc == cudaSuccess
               ? 0
               : err_set(ERR_IO, "process %d of %d, %s: %s", mpi.rank, mpi.size, doing, cudaGetErrorString(rc));
}

static int nccl_check(ncclResult_t rc, const char *doing)
{
    return rc == ncclSuccess ? 0
                             : err_set(ERR_AGAIN, "process %d of %d, %s: %s (%s)", mpi.rank, mpi.size, doing,
                                       ncclGetErrorString(rc), ncclGetLastError(nccl));
}

/* Waits for what was queued, and for the failure of another process, which CUDA alone would wait for without end. */
static int finish(const char *doing)
{
    const struct timespec nap = {0, NAP_NS};
    cudaError_t state;
    double begin = MPI_Wtime();
    while ((state = cudaStreamQuery(stream)) == cudaErrorNotReady) {
        ncclResult_t failed;
        if (nccl_check(ncclCommGetAsyncError(nccl, &failed), doing) || nccl_check(failed, doing))
            return -1;
        if (MPI_Wtime() - begin > LOST_SECONDS)
            return err_set(ERR_AGAIN, "process %d of %d, %s: no word from the others for %d minutes", mpi.rank,
                           mpi.size, doing, LOST_SECONDS / 60);
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
    if (settle(DOING) || nccl_check(ncclAllReduce(x.data, x.data, n, ncclFloat32, ncclSum, nccl, stream), DOING))
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
    for (int r = 0; r < mpi.size; r++) {
        size_t first = comm_first(&mpi, rows, r), count = comm_first(&mpi, rows, r + 1) - first;
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
    mpi.end(code);
}

int comm_nccl_open(struct comm *c)
{
    static const char DOING[] = "meeting the others";
    ncclUniqueId id;
    int gpus;
    if (comm_mpi_open(&mpi))
        return -1;
    if (cuda_check(cudaGetDeviceCount(&gpus), DOING) || cuda_check(cudaSetDevice(mpi.local_rank % gpus), DOING) ||
        cuda_check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), DOING) ||
        (mpi.rank == 0 && nccl_check(ncclGetUniqueId(&id), DOING)) || mpi.broadcast_host(&id, sizeof id) ||
        nccl_check(ncclCommInitRank(&nccl, mpi.size, id, mpi.rank), DOING))
        return -1;
    *c = mpi;
    c->name = "nccl";
    c->sum = sum;
    c->gather = gather;
    c->broadcast = broadcast;
    c->end = end;
    return 0;
}
