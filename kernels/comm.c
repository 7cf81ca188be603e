/*
 * One process alone, and the choice of a table for more.
 */
#include "kernels/comm.h"
#include "common/err.h"
#include "common/mem.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int alone_tensor(struct tensor x, size_t n)
{
    (void)x;
    (void)n;
    return 0;
}

static int alone_gather(struct tensor all, size_t rows, size_t d)
{
    (void)all;
    (void)rows;
    (void)d;
    return 0;
}

static int alone_sum_host(double *x, size_t n)
{
    (void)x;
    (void)n;
    return 0;
}

static int alone_broadcast_host(void *x, size_t bytes)
{
    (void)x;
    (void)bytes;
    return 0;
}

static int alone_barrier(void)
{
    return 0;
}

static void alone_end(int code)
{
    (void)code;
}

const struct comm *comm_alone(void)
{
    static const struct comm alone = {
        .name = "alone",
        .size = 1,
        .sharing = 1,
        .sum = alone_tensor,
        .gather = alone_gather,
        .broadcast = alone_tensor,
        .sum_host = alone_sum_host,
        .broadcast_host = alone_broadcast_host,
        .barrier = alone_barrier,
        .end = alone_end,
    };
    return &alone;
}

/* What Open MPI's mpirun, MPICH's, and srun (pmix, pmi2) tell the processes that they start. */
static bool launched(void)
{
    static const char *const MARKS[] = {"OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMIX_RANK"};
    for (size_t i = 0; i < sizeof MARKS / sizeof *MARKS; i++)
        if (getenv(MARKS[i]))
            return true;
    return false;
}

/* A function of libatelier-NAME.so, which is in the folder lib beside the program's, or in ATELIER_LIBRARIES. */
static void *find(const char *name, const char *function)
{
    char program[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
    program[len > 0 ? len : 0] = 0;
    char *slash = strrchr(program, '/'), *given = getenv("ATELIER_LIBRARIES");
    char *path = given ? xasprintf("%s/libatelier-%s.so", given, name)
                       : xasprintf("%.*s/../lib/libatelier-%s.so", slash ? (int)(slash - program) : 0, program, name);
    void *library = dlopen(path, RTLD_NOW);
    free(path);
    return library ? dlsym(library, function) : NULL;
}

int comm_open(const struct comm **c)
{
    static struct comm met;
    *c = comm_alone();
    if (!launched())
        return 0;
    int (*open)(struct comm *) = (int (*)(struct comm *))find("mpi", "comm_mpi_open");
    if (!open)
        return err_set(ERR_USAGE,
                       "started as one of several processes, but %s; make builds it where mpicc is (libopenmpi-dev)",
                       dlerror());
    if (open(&met))
        return -1;
    *c = &met;
    return 0;
}

int comm_use_gpu(const struct comm **c)
{
    static struct comm on_gpus;
    if ((*c)->size == 1)
        return 0;
    int (*open)(const struct comm *, struct comm *) =
        (int (*)(const struct comm *, struct comm *))find("nccl", "comm_nccl_open");
    if (!open)
        return err_set(ERR_USAGE, "several processes on GPUs, but %s; make builds it where NCCL is", dlerror());
    if (open(*c, &on_gpus))
        return -1;
    *c = &on_gpus;
    return 0;
}
