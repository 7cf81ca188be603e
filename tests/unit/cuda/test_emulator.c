/*
 * The emulator itself: what it must find is found, and its instructions do what PTX's do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "faults.h"
#include "tests/emulator/emulator.h"
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a child process says on stderr, which must die of it. */
static void dying_words(enum fault fault, char *text, size_t size)
{
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        fault_commit(fault);
        _exit(0);
    }
    close(ends[1]);
    size_t length = 0;
    for (ssize_t n; length < size - 1 && (n = read(ends[0], text + length, size - 1 - length)) > 0;)
        length += (size_t)n;
    text[length] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFSIGNALED(status))
        fail_msg("fault %d was not found; it said: %s", fault, text);
}

/* Whether the text holds one of the parts that | separates. */
static bool says(const char *text, const char *parts)
{
    char copy[256], *rest = copy;
    strncpy(copy, parts, sizeof copy - 1);
    copy[sizeof copy - 1] = 0;
    for (char *part; (part = strsep(&rest, "|"));)
        if (strstr(text, part))
            return true;
    return false;
}

static void finds_faults(void **state)
{
    (void)state;
    char text[1024];
    for (enum fault fault = 0; fault < FAULTS; fault++) {
        dying_words(fault, text, sizeof text);
        if (!says(text, FAULT_MESSAGES[fault]))
            fail_msg("fault %d said: %s", fault, text);
    }
}

static bool differs(float (*run)(void))
{
    float first = run();
    emulator_set_poison(0x7f);
    emulator_set_reversed(true);
    float second = run();
    emulator_set_poison(0xff);
    emulator_set_reversed(false);
    uint32_t bits[2];
    memcpy(&bits[0], &first, sizeof first);
    memcpy(&bits[1], &second, sizeof second);
    return bits[0] != bits[1];
}

static void shows_undefined_values(void **state)
{
    (void)state;
    assert_true(differs(fault_sum_of_shared));
    assert_true(differs(fault_copy_without_wait));
}

static void multiplies_fragments(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++)
        assert_true(mma_error(kind) == 0);
    assert_int_equal(load_matrices_errors(0), 0);
    assert_int_equal(load_matrices_errors(1), 0);
}

static void votes_and_shuffles(void **state)
{
    (void)state;
    assert_int_equal(votes_and_shuffles_errors(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_faults),
        cmocka_unit_test(shows_undefined_values),
        cmocka_unit_test(multiplies_fragments),
        cmocka_unit_test(votes_and_shuffles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
