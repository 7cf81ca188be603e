/*
 * Collectives over MPI for tensors in host memory.
 *
 * A sum is our own: each process gets everyone's values of its share, adds them up in the order of ranks, and sends the
 * sums to all. That moves no more than the best algorithms of MPI_Allreduce, which may add in any order. Nothing blocks
 * inside MPI: a wait that finds nothing to do sleeps, so that more processes than cores do no harm, and ends at a
 * limit.
 */
#include "common/err.h"
#include "common/mem.h"
#include "kernels/comm/comm_library.h"

#include <assert.h>
#include <limits.h>
#include <mpi.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SLICE ((size_t)1 << 22) /* elements summed at a time: bounds the memory beside the tensor */
#define POLLS 1000              /* of a wait before it sleeps between polls */
#define NAP_NS 50000

static struct comm world;
static float *stage;        /* [size, one share of a slice] */
static double *stage_host;  /* [size, n of the largest call] */
static size_t stage_host_n; /* that n */
static MPI_Request *requests;

static int check(int rc, const char *doing)
{
    char text[MPI_MAX_ERROR_STRING];
    int len;
    if (rc == MPI_SUCCESS)
        return 0;
    MPI_Error_string(rc, text, &len);
    return err_set(ERR_AGAIN, "process %d of %d, %s: %s", world.rank, world.size, doing, text);
}

static int finish(int count, const char *doing)
{
    const struct timespec nap = {0, NAP_NS};
    int done;
    double begin = MPI_Wtime();
    for (long polls = 0;; polls++) {
        if (check(MPI_Testall(count, requests, &done, MPI_STATUSES_IGNORE), doing))
            return -1;
        if (done)
            return 0;
        if (polls < POLLS)
            sched_yield();
        else
            nanosleep(&nap, NULL);
        if (MPI_Wtime() - begin > COMM_LOST_SECONDS)
            return err_set(ERR_AGAIN, "process %d of %d, %s: no word from the others for %d minutes", world.rank,
                           world.size, doing, COMM_LOST_SECONDS / 60);
    }
}

static size_t share(size_t n, int rank)
{
    return comm_first(&world, n, rank + 1) - comm_first(&world, n, rank);
}

/* Shares of n groups of `d` floats, each where it belongs, from their owners to all. */
static int spread(float *x, size_t n, size_t d)
{
    static const char DOING[] = "gathering";
    int count = 0;
    assert(n == 0 || d <= INT_MAX / n);
    for (int i = 1; i < world.size; i++) {
        int from = (world.rank + world.size - i) % world.size, to = (world.rank + i) % world.size;
        if (check(MPI_Irecv(x + comm_first(&world, n, from) * d, (int)(share(n, from) * d), MPI_FLOAT, from, 0,
                            MPI_COMM_WORLD, &requests[count++]),
                  DOING) ||
            check(MPI_Isend(x + comm_first(&world, n, world.rank) * d, (int)(share(n, world.rank) * d), MPI_FLOAT, to,
                            0, MPI_COMM_WORLD, &requests[count++]),
                  DOING))
            return -1;
    }
    return finish(count, DOING);
}

static int sum_slice(float *x, size_t n)
{
    static const char DOING[] = "summing";
    size_t own = share(n, world.rank);
    float *mine = x + comm_first(&world, n, world.rank);
    int count = 0;
    for (int i = 1; i < world.size; i++) {
        int from = (world.rank + world.size - i) % world.size, to = (world.rank + i) % world.size;
        if (check(
                MPI_Irecv(stage + (size_t)from * own, (int)own, MPI_FLOAT, from, 0, MPI_COMM_WORLD, &requests[count++]),
                DOING) ||
            check(MPI_Isend(x + comm_first(&world, n, to), (int)share(n, to), MPI_FLOAT, to, 0, MPI_COMM_WORLD,
                            &requests[count++]),
                  DOING))
            return -1;
    }
    if (finish(count, DOING))
        return -1;
    memcpy(stage + (size_t)world.rank * own, mine, own * sizeof *mine);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < own; i++) {
        double s = 0;
        for (int r = 0; r < world.size; r++)
            s += stage[(size_t)r * own + i];
        mine[i] = (float)s;
    }
    return spread(x, n, 1);
}

static int sum(struct tensor x, size_t n)
{
    assert(x.dtype == F32);
    for (size_t at = 0; at < n; at += SLICE)
        if (sum_slice((float *)x.data + at, n - at < SLICE ? n - at : SLICE))
            return -1;
    return 0;
}

static int gather(struct tensor all, size_t rows, size_t d)
{
    assert(all.dtype == F32);
    return spread(all.data, rows, d);
}

static int broadcast_host(void *x, size_t bytes)
{
    static const char DOING[] = "sending rank 0's state to all";
    for (size_t at = 0; at < bytes; at += SLICE) {
        int count = (int)(bytes - at < SLICE ? bytes - at : SLICE);
        if (check(MPI_Ibcast((char *)x + at, count, MPI_BYTE, 0, MPI_COMM_WORLD, requests), DOING) || finish(1, DOING))
            return -1;
    }
    return 0;
}

static int broadcast(struct tensor x, size_t n)
{
    assert(x.dtype == F32);
    return broadcast_host(x.data, n * sizeof(float));
}

static int sum_host(double *x, size_t n)
{
    static const char DOING[] = "summing numbers";
    assert(n <= INT_MAX);
    if (n > stage_host_n) {
        stage_host = xrealloc(stage_host, n * (size_t)world.size * sizeof *stage_host);
        stage_host_n = n;
    }
    if (check(MPI_Iallgather(x, (int)n, MPI_DOUBLE, stage_host, (int)n, MPI_DOUBLE, MPI_COMM_WORLD, requests), DOING) ||
        finish(1, DOING))
        return -1;
    for (size_t i = 0; i < n; i++) {
        x[i] = 0;
        for (int r = 0; r < world.size; r++)
            x[i] += stage_host[(size_t)r * n + i];
    }
    return 0;
}

static int barrier(void)
{
    static const char DOING[] = "waiting for all";
    return check(MPI_Ibarrier(MPI_COMM_WORLD, requests), DOING) || finish(1, DOING) ? -1 : 0;
}

static void end(int code)
{
    if (code)
        MPI_Abort(MPI_COMM_WORLD, code);
    MPI_Finalize();
    free(stage);
    free(stage_host);
    free(requests);
}

/* The launcher may have bound each process to cores of its own, or none. */
static int count_sharing(MPI_Comm host)
{
    int size, sharing = 0;
    cpu_set_t mine, both;
    CPU_ZERO(&mine);
    sched_getaffinity(0, sizeof mine, &mine);
    MPI_Comm_size(host, &size);
    cpu_set_t *all = xcalloc((size_t)size, sizeof *all);
    MPI_Allgather(&mine, sizeof mine, MPI_BYTE, all, sizeof mine, MPI_BYTE, host);
    for (int i = 0; i < size; i++) {
        CPU_AND(&both, &mine, &all[i]);
        sharing += CPU_COUNT(&both) > 0;
    }
    free(all);
    return sharing;
}

int comm_mpi_open(struct comm *c)
{
    int level;
    MPI_Comm host;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level) != MPI_SUCCESS)
        return err_set(ERR_AGAIN, "MPI does not start");
    world = (struct comm){
        .name = "mpi",
        .sum = sum,
        .gather = gather,
        .broadcast = broadcast,
        .sum_host = sum_host,
        .broadcast_host = broadcast_host,
        .barrier = barrier,
        .end = end,
    };
    MPI_Comm_rank(MPI_COMM_WORLD, &world.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &world.size);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, world.rank, MPI_INFO_NULL, &host);
    MPI_Comm_rank(host, &world.local_rank);
    world.sharing = count_sharing(host);
    MPI_Comm_free(&host);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    requests = xcalloc(2 * (size_t)world.size, sizeof(MPI_Request));
    stage = xmalloc((SLICE + (size_t)world.size) * sizeof *stage);
    *c = world;
    return 0;
}
