/*
 * The collectives, alone and by two and three processes: this program starts itself again under mpirun.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/mem.h"
#include "common/random.h"
#include "kernels/comm.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST ((1 << 22) + 5) /* over what is summed at a time */

static char program[4096];

/* Of one of the processes: what differs ends it with a code that the test does not expect. */
static void need(bool fine, const char *what)
{
    if (!fine) {
        fprintf(stderr, "%s\n", what);
        _exit(3);
    }
}

/* Magnitudes so far apart that a sum in another order is another sum. */
static float value(int rank, size_t i)
{
    return ldexpf(random_uniform(4, (uint64_t)rank, i) - 0.5f, (int)(29 * i + (size_t)rank * 17) % 41 - 20);
}

static void check_sum(const struct comm *c, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = value(c->rank, i);
    usleep((useconds_t)(20000 * ((n + (size_t)c->rank) % 3))); /* who comes first must not matter */
    need(c->sum((struct tensor){x, F32}, n) == 0, "sum fails");
    for (size_t i = 0; i < n; i++) {
        double s = 0;
        for (int r = 0; r < c->size; r++)
            s += value(r, i);
        need(x[i] == (float)s, "a sum is not that of all in the order of ranks");
    }
    need(x[n] == 77, "written past the end");
}

static void check_gather(const struct comm *c, float *x, size_t rows, size_t d)
{
    for (size_t i = 0; i < rows * d; i++) {
        bool own =
            i / d >= comm_first(c, rows, c->rank) && i / d < comm_first(c, rows, c->rank + 1); /* NaN: not looked at */
        x[i] = own ? value(9, i) : (float)NAN;
    }
    need(c->gather((struct tensor){x, F32}, rows, d) == 0, "gather fails");
    for (size_t i = 0; i < rows * d; i++)
        need(x[i] == value(9, i), "a gathered row is not its owner's");
}

static void check_rest(const struct comm *c, float *x)
{
    for (size_t i = 0; i < MOST; i++)
        x[i] = value(c->rank, i);
    need(c->broadcast((struct tensor){x, F32}, MOST) == 0, "broadcast fails");
    for (size_t i = 0; i < MOST; i++)
        need(x[i] == value(0, i), "a broadcast is not rank 0's");
    char text[5] = {0};
    memcpy(text, c->rank ? "else" : "zero", 4);
    need(c->broadcast_host(text, 4) == 0 && !strcmp(text, "zero"), "a broadcast of bytes is not rank 0's");
    for (size_t n = 1; n < 300; n += 99) {
        double numbers[300], expected = 0;
        for (size_t i = 0; i < n; i++)
            numbers[i] = c->rank + 1e-17 * (double)i;
        for (int r = 0; r < c->size; r++)
            expected += r + 1e-17 * (double)(n - 1);
        need(c->sum_host(numbers, n) == 0 && numbers[n - 1] == expected, "a sum of numbers is wrong");
    }
    double begin = clock_now();
    if (c->rank == 0)
        usleep(300000);
    need(c->barrier() == 0 && clock_now() - begin > 0.2, "a barrier does not wait");
}

static int process(const char *what)
{
    const struct comm *c;
    if (comm_open(&c)) {
        fprintf(stderr, "%s\n", err_text());
        return 4;
    }
    need(!strcmp(c->name, "mpi") && c->rank >= 0 && c->rank < c->size && c->local_rank == c->rank && c->sharing >= 1,
         "the table is not filled");
    static const size_t SIZES[] = {1, 2, 3, 7, 64, 1001, MOST};
    float *x = xmalloc((MOST + 1) * sizeof *x);
    bool lost = !strcmp(what, "killed"), ended = !strcmp(what, "ended");
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
        x[SIZES[i]] = 77;
        check_sum(c, x, SIZES[i]);
        if (i == 3 && lost && c->rank == 1)
            raise(SIGKILL);
        if (i == 3 && ended && c->rank == 1)
            c->end(65);
    }
    check_gather(c, x, 1, 5);
    check_gather(c, x, 7, 3);
    check_gather(c, x, 300, 1024);
    check_rest(c, x);
    free(x);
    c->end(0);
    return 0;
}

/* The exit code of n processes. */
static int together(int n, const char *what)
{
    /* MPI's own allocations are no leak of ours. */
    char *line = xasprintf("ASAN_OPTIONS=detect_leaks=0 OMP_NUM_THREADS=1 timeout 120 mpirun --allow-run-as-root "
                           "--oversubscribe --bind-to none -n %d '%s' %s 2>&1",
                           n, program, what);
    int status = system(line);
    free(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void by_two(void **state)
{
    (void)state;
    assert_int_equal(together(2, "all"), 0);
}

static void by_three(void **state)
{
    (void)state;
    assert_int_equal(together(3, "all"), 0);
}

static void a_lost_process_ends_the_others(void **state)
{
    (void)state;
    double begin = clock_now();
    assert_int_equal(together(3, "killed"), 128 + SIGKILL);
    assert_int_equal(together(2, "ended"), 65);
    assert_true(clock_now() - begin < 60);
}

static void alone_nothing_changes(void **state)
{
    (void)state;
    const struct comm *c;
    assert_int_equal(comm_open(&c), 0);
    assert_true(c == comm_alone() && c->rank == 0 && c->size == 1);
    assert_int_equal(comm_first(c, 5, 0), 0);
    assert_int_equal(comm_first(c, 5, 1), 5);
    float x[2] = {1, 2};
    double y = 3;
    struct tensor t = {x, F32};
    assert_true(!c->sum(t, 2) && !c->gather(t, 2, 1) && !c->broadcast(t, 2) && !c->sum_host(&y, 1) &&
                !c->broadcast_host(&y, sizeof y) && !c->barrier());
    assert_true(x[0] == 1 && x[1] == 2 && y == 3);
    c->end(0);
}

static void without_mpi_it_says_what_is_missing(void **state)
{
    (void)state;
    const struct comm *c;
    setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
    setenv("ATELIER_LIBRARIES", "/nowhere", 1);
    assert_int_equal(comm_open(&c), -1);
    assert_non_null(strstr(err_text(), "/nowhere/libatelier-mpi.so"));
    assert_non_null(strstr(err_text(), "libopenmpi-dev"));
    unsetenv("OMPI_COMM_WORLD_SIZE");
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(alone_nothing_changes),
        cmocka_unit_test(by_two),
        cmocka_unit_test(by_three),
        cmocka_unit_test(a_lost_process_ends_the_others),
        cmocka_unit_test(without_mpi_it_says_what_is_missing),
    };
    /* BUILD/tests/unit/kernels/test_comm finds BUILD/lib. */
    ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
    program[len > 0 ? len : 0] = 0;
    char *end = strstr(program, "/tests/unit/"), *lib = xasprintf("%.*s/lib", (int)(end - program), program);
    setenv("ATELIER_LIBRARIES", lib, 1);
    free(lib);
    return argc > 1 ? process(argv[1]) : cmocka_run_group_tests(TESTS, NULL, NULL);
}
