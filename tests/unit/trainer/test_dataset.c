/*
 * The training order: skipping records comes to where reading them does, tombstones among them or not.
 */
#include "tests/unit/common/scratch.h"

#include "common/store.h"
#include "trainer/dataset.h"

#define RECORDS 37

/* Two of three are kept. */
static char *make_store(void)
{
    struct store *s;
    char *path = xasprintf("%s/store", scratch);
    assert_int_equal(store_open_write(&s, path, NULL), 0);
    for (uint64_t id = 0; id < RECORDS; id++) {
        struct record r = {0};
        record_set_u64(&r, FIELD_ID, id);
        record_set_string(&r, FIELD_CAPTION, "a shoe", 6);
        if (id % 3 == 1)
            record_reject(&r, "language: fr");
        assert_int_equal(store_put(s, &r), 0);
        record_free(&r);
    }
    assert_int_equal(store_close(&s), 0);
    return path;
}

static void check_skips(const char *uri, int kept_of_three)
{
    struct dataset *d;
    struct record r = {0};
    assert_int_equal(dataset_open(&d, uri, 1 << 20), 0);
    for (uint64_t n = 0; n < 3 * RECORDS; n += 5) {
        uint64_t read = 11, skipped = 11, sample = 0, first = 0;
        for (uint64_t i = 0; i < n; i++)
            assert_int_equal(dataset_next(d, 3, &read, &sample, &r), 0);
        assert_int_equal(dataset_skip(d, 3, &skipped, n), 0);
        assert_true(kept_of_three == 3 ? skipped == 11 + n : skipped >= 11 + n);
        assert_int_equal(read, skipped);
        assert_int_equal(dataset_next(d, 3, &skipped, &first, &r), 0);
        assert_true(first >= read);
    }
    record_free(&r);
    dataset_close(&d);
}

static void skipping_comes_to_where_reading_does(void **state)
{
    (void)state;
    char *path = make_store(), *uri = xasprintf("lmdb:%s", path), *lines = xasprintf("%s/lines", scratch);
    check_skips(uri, 2);
    scratch_write(lines, "one\ntwo\nthree\n", 14);
    free(uri);
    uri = xasprintf("text:%s", lines);
    check_skips(uri, 3);
    free(uri);
    free(lines);
    free(path);
}

static void a_store_of_tombstones_alone_is_no_endless_search(void **state)
{
    (void)state;
    struct store *s;
    struct dataset *d;
    struct record r = {0};
    uint64_t position = 0;
    char *path = xasprintf("%s/empty", scratch), *uri = xasprintf("lmdb:%s", path);
    assert_int_equal(store_open_write(&s, path, NULL), 0);
    record_set_u64(&r, FIELD_ID, 0);
    record_reject(&r, "short");
    assert_int_equal(store_put(s, &r), 0);
    assert_int_equal(store_has(s, 0), 0);
    assert_int_equal(store_close(&s), 0);
    assert_int_equal(dataset_open(&d, uri, 1 << 20), 0);
    assert_int_equal(dataset_skip(d, 3, &position, 0), 0);
    assert_int_equal(dataset_skip(d, 3, &position, 1), -1);
    record_free(&r);
    dataset_close(&d);
    free(uri);
    free(path);
}

int main(void)
{
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(skipping_comes_to_where_reading_does),
        cmocka_unit_test(a_store_of_tombstones_alone_is_no_endless_search),
    };
    return cmocka_run_group_tests(TESTS, scratch_make, scratch_remove);
}
