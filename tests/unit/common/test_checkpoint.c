/* Checkpoint directories: begin, commit, latest; leftovers; a second commit of one step; crashes between the calls. */
#include "common/checkpoint.h"
#include "common/err.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char *run;

static int setup(void **state)
{
    char scratch[] = "/tmp/atelier-checkpoint-XXXXXX";
    *state = NULL;
    run = xstrdup(mkdtemp(scratch));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char *command = xasprintf("rm -rf '%s'", run);
    int rc = system(command); /* NOLINT(cert-env33-c) */
    free(command);
    free(run);
    return rc;
}

static void put(const char *dir, const char *name, const char *text)
{
    char *path = xasprintf("%s/%s", dir, name);
    assert_int_equal(file_write(path, text, strlen(text)), 0);
    free(path);
}

static void write_checkpoint(uint64_t step, const char *text)
{
    char *dir;
    assert_int_equal(checkpoint_begin(run, &dir), 0);
    put(dir, "state.json", text);
    char *inner = xasprintf("%s/pictures", dir);
    assert_int_equal(mkdir(inner, 0777), 0);
    put(inner, "a", text);
    free(inner);
    assert_int_equal(checkpoint_commit(run, step), 0);
    free(dir);
}

static void expect_latest(uint64_t step, const char *text)
{
    char *dir = NULL;
    uint64_t found = 0;
    struct buf content = {0};
    assert_int_equal(checkpoint_latest(run, &dir, &found), 1);
    assert_int_equal(found, step);
    char *path = xasprintf("%s/state.json", dir);
    assert_int_equal(file_read(path, 1000, &content), 0);
    assert_string_equal(buf_string(&content), text);
    buf_free(&content);
    free(path);
    free(dir);
}

static bool exists(const char *name)
{
    char *path = xasprintf("%s/%s", run, name);
    bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}

static void test_empty_run_has_none(void **state)
{
    (void)state;
    char *dir;
    uint64_t step;
    assert_int_equal(checkpoint_latest(run, &dir, &step), 0);
    assert_int_equal(checkpoint_latest("/nonexistent/run", &dir, &step), 0);
}

static void test_two_are_kept(void **state)
{
    (void)state;
    write_checkpoint(5, "five");
    expect_latest(5, "five");
    write_checkpoint(10, "ten");
    write_checkpoint(1234567890123, "many");
    expect_latest(1234567890123, "many");
    assert_true(exists("checkpoint-000000010"));
    assert_false(exists("checkpoint-000000005"));
    assert_false(exists(".writing"));
    assert_false(exists(".removing"));
}

static void test_same_step_again_replaces(void **state)
{
    (void)state;
    write_checkpoint(7, "first");
    write_checkpoint(7, "second");
    expect_latest(7, "second");
    assert_false(exists(".writing"));
}

/* Killed while writing, and while removing an old one: what was whole stays the newest, the rest is cleared away. */
static void test_leftovers(void **state)
{
    (void)state;
    char *dir;
    write_checkpoint(3, "three");
    assert_int_equal(checkpoint_begin(run, &dir), 0);
    put(dir, "half", "x");
    free(dir);
    put(run, "checkpoint-12", "not a checkpoint's name");
    put(run, "checkpoint-0000000x9", "nor this");
    char *removing = xasprintf("%s/.removing", run);
    assert_int_equal(mkdir(removing, 0777), 0);
    put(removing, "rest", "x");
    free(removing);
    expect_latest(3, "three");

    assert_int_equal(checkpoint_begin(run, &dir), 0);
    assert_false(exists(".writing/half"));
    assert_false(exists(".removing"));
    free(dir);
}

static void test_commit_without_begin_fails(void **state)
{
    (void)state;
    write_checkpoint(1, "one");
    assert_int_equal(checkpoint_commit(run, 2), -1);
    assert_non_null(strstr(err_text(), ".writing"));
    expect_latest(1, "one");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_empty_run_has_none, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_same_step_again_replaces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leftovers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_commit_without_begin_fails, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
