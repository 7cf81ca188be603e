/*
 * The processes that train together, as one table of collective operations: alone (one process), over MPI (tensors in
 * host memory) or over NCCL (tensors on GPUs, one process a GPU, which meet by MPI). Each process calls the same
 * operations in the same order with the same sizes; what comes out is the same, to the bit, in all of them.
 *
 * All operations return 0, or -1 with an error, after which only end() is of use. A process that is lost (killed, or
 * ended by end() with a code) ends the others within seconds: the launcher ends them; where it does not, a process that
 * has waited for half an hour gives up.
 */
#ifndef ATELIER_KERNELS_COMM_H
#define ATELIER_KERNELS_COMM_H

#include "kernels/kernels.h"

struct comm {
    const char *name; /* "alone", "mpi", "nccl" */
    int rank, size;
    int local_rank; /* among the processes of this host: which of its GPUs */
    int sharing;    /* processes that may run on the cores that this one may run on, itself included */

    /* x [n] = the sum of all processes' x. MPI: F32, in double in the order of ranks. NCCL: F32, BF16 or F16. */
    int (*sum)(struct tensor x, size_t n);
    /* all [rows, d] F32: rank r has set rows comm_first(rows, r) .. comm_first(rows, r + 1) - 1, and gets the others.
     */
    int (*gather)(struct tensor all, size_t rows, size_t d);
    /* x [n] F32 = that of rank 0. */
    int (*broadcast)(struct tensor x, size_t n);
    /* The same for host memory. */
    int (*sum_host)(double *x, size_t n);
    int (*broadcast_host)(void *x, size_t bytes);
    /* No process goes on before all have come. */
    int (*barrier)(void);
    /* The last call: 0 leaves in peace; another code ends all processes, the job with that exit code. */
    void (*end)(int code);
};

const struct comm *comm_alone(void);

/* The table for how this process was started: over MPI by mpirun or srun --mpi (which leave marks in the environment),
 * or alone. 0 or -1. */
int comm_open(const struct comm **c);

/* From now on tensors are on the GPU that is current (CUDA's sense; the kernels' table makes it so), a different one in
 * each process of a host: a table over MPI becomes one over NCCL. 0 or -1. */
int comm_use_gpu(const struct comm **c);

/* The first of rank `rank`'s share of n things; that of rank + 1 is one past its last. */
static inline size_t comm_first(const struct comm *c, size_t n, int rank)
{
    return n * (size_t)rank / (size_t)c->size;
}

#endif
