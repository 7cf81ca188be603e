/*
 * Stands in for cmocka where nothing can be installed: what the tests that run on a GPU take of it, with its output.
 * ATELIER_TESTS=TEXT runs the tests alone whose names hold it.
 */
#ifndef ATELIER_TESTS_GPU_CMOCKA_H
#define ATELIER_TESTS_GPU_CMOCKA_H

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct CMUnitTest {
    const char *name;
    void (*test_func)(void **state);
    int (*setup_func)(void **state);
    int (*teardown_func)(void **state);
    void *initial_state;
};

enum { CMOCKA_OK, CMOCKA_FAILED, CMOCKA_SKIPPED };

static jmp_buf cmocka_end;

static inline _Noreturn void cmocka_leave(int how)
{
    longjmp(cmocka_end, how);
}

#define fail_msg(...)                                                                                                  \
    (printf("%s:%d: ", __FILE__, __LINE__), printf(__VA_ARGS__), puts(""), cmocka_leave(CMOCKA_FAILED))
#define assert_true(c) ((c) ? (void)0 : fail_msg("%s is false", #c))
#define assert_false(c) assert_true(!(c))
#define assert_non_null(p) assert_true((p) != NULL)
#define assert_null(p) assert_true((p) == NULL)
#define assert_int_equal(a, b) assert_true((long long)(a) == (long long)(b))
#define assert_int_not_equal(a, b) assert_true((long long)(a) != (long long)(b))
#define assert_string_equal(a, b) assert_true(strcmp(a, b) == 0)
#define assert_memory_equal(a, b, size) assert_true(memcmp(a, b, size) == 0)
#define assert_memory_not_equal(a, b, size) assert_true(memcmp(a, b, size) != 0)
#define skip() cmocka_leave(CMOCKA_SKIPPED)
#define cmocka_unit_test(f) ((struct CMUnitTest){#f, f, NULL, NULL, NULL})

static inline int cmocka_run(const struct CMUnitTest *test)
{
    static const char *const SAID[] = {"[       OK ]", "[  FAILED  ]", "[  SKIPPED ]"};
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    int how = setjmp(cmocka_end);
    if (how == 0) {
        void *state = test->initial_state;
        test->test_func(&state);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%s %s (%.2f s)\n", SAID[how], test->name,
           (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec));
    fflush(stdout);
    return how == CMOCKA_FAILED;
}

static inline int cmocka_run_tests(const struct CMUnitTest *tests, size_t count, int (*setup)(void **state))
{
    const char *asked = getenv("ATELIER_TESTS");
    void *state = NULL;
    int failed = setup && setup(&state) != 0;
    for (size_t i = 0; i < count; i++)
        if (!asked || strstr(tests[i].name, asked))
            failed += cmocka_run(&tests[i]);
    return failed;
}
#define cmocka_run_group_tests(tests, setup, teardown) cmocka_run_tests(tests, sizeof(tests) / sizeof *(tests), setup)

#endif
