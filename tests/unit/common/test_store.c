/* The store: records out as they came in, order, runs, shards, resuming. */
#include "test_store.h"

static void test_round_trip(void **state)
{
    (void)state;
    put_all(0, 5000);
    expect_records(5000);
}

static void test_empty(void **state)
{
    (void)state;
    struct store_report report;
    put_all(0, 0);
    expect_records(0);
    assert_int_equal(store_verify(path, &report), 0);
    assert_int_equal(report.problem_count, 0);
    assert_int_equal(report.cursor, 0);
}

static void test_resume_and_duplicates(void **state)
{
    (void)state;
    put_all(0, 100);
    put_all(50, 300); /* 50 .. 99 are there already */
    expect_records(300);
}

static void test_any_order_within_the_window(void **state)
{
    (void)state;
    enum { N = 9000, SPAN = 500 };
    struct store *s;
    assert_int_equal(store_open_write(&s, path, NULL), 0);
    for (uint64_t i = 0; i < N; i += SPAN) {
        for (uint64_t j = 0; j < SPAN; j++)
            put(s, i + random_permute(SPAN, i, j));
    }
    assert_int_equal(store_cursor(s), N);
    assert_int_equal(store_close(&s), 0);
    expect_records(N);
}

static void test_gap_is_an_error(void **state)
{
    (void)state;
    struct store *s;
    struct record r = {0};
    assert_int_equal(store_open_write(&s, path, NULL), 0);
    put(s, 0);
    put(s, 2);
    make_record(&r, 70000);
    assert_int_equal(store_put(s, &r), -1);
    expect_error(ERR_DATA, "id 1 is still missing");
    assert_int_equal(store_close(&s), -1);
    expect_error(ERR_DATA, "id 1 never came");
    expect_records(1);
    record_free(&r);
}

/* More than a window holds in memory: the rest comes back from its file. */
static void test_much_may_wait(void **state)
{
    (void)state;
    enum { N = 20 };
    struct store *s;
    struct record r = {0};
    size_t size = 8 << 20;
    char *picture = xcalloc(1, size);
    assert_int_equal(store_open_write(&s, path, NULL), 0);
    for (int i = 1; i <= N; i++) {
        record_clear(&r);
        record_set_u64(&r, FIELD_ID, (uint64_t)i % N);
        picture[i] = picture[size - 1] = (char)i;
        record_set_string(&r, FIELD_IMAGE, picture, size);
        assert_int_equal(store_waiting(s), i - 1);
        assert_int_equal(store_put(s, &r), 0);
    }
    assert_int_equal(store_waiting(s), 0);
    assert_int_equal(store_close(&s), 0);
    assert_int_equal(store_open_read(&s, path), 0);
    memset(picture, 0, size);
    for (int i = 1; i <= N; i++) {
        picture[i] = picture[size - 1] = (char)i;
        assert_int_equal(store_get(s, (uint64_t)i % N, &r), 1);
        assert_int_equal(r.image.len, size);
        assert_memory_equal(r.image.data, picture, size);
    }
    store_close(&s);
    record_free(&r);
    free(picture);
}

static void test_far_apart_over_links(void **state)
{
    (void)state;
    enum { N = 70000 };
    struct store *s;
    assert_int_equal(store_open_write(&s, path, NULL), 0);
    store_let_wait(s);
    for (uint64_t id = N; id-- > 0;)
        put(s, id);
    assert_int_equal(store_waiting(s), 0);
    assert_int_equal(store_close(&s), 0);
    expect_records(N);
}

/* A value of any length comes back, whether it is cut into parts or not. */
static void test_values_of_all_lengths(void **state)
{
    (void)state;
    enum { N = 9000 };
    struct store *s;
    struct store_report report;
    struct record r = {0};
    unsigned char *picture = xmalloc(N);
    for (int i = 0; i < N; i++)
        picture[i] = (unsigned char)(i * 31 + i / 256);
    assert_int_equal(store_open_write(&s, path, NULL), 0);
    for (int i = 0; i < N; i++) {
        record_clear(&r);
        record_set_u64(&r, FIELD_ID, (uint64_t)i);
        record_set_string(&r, FIELD_IMAGE, picture, (size_t)i);
        assert_int_equal(store_put(s, &r), 0);
    }
    assert_int_equal(store_close(&s), 0);
    assert_int_equal(store_verify(path, &report), 0);
    assert_true(report.problem_count == 0 && report.cursor == N && report.kept == N);
    assert_int_equal(store_open_read(&s, path), 0);
    assert_int_equal(store_cursor(s), N);
    for (int i = 0; i < N; i++) {
        assert_int_equal(store_get(s, (uint64_t)i, &r), 1);
        assert_int_equal(r.image.len, i);
        assert_true(i == 0 || memcmp(r.image.data, picture, (size_t)i) == 0);
    }
    store_close(&s);
    record_free(&r);
    free(picture);
}

static void test_no_length_wastes_pages(void **state)
{
    (void)state;
    static const size_t lengths[] = {300,  700,  1000, 1100, 1350, 1700,  2000, 2050,
                                     2300, 3000, 4200, 5000, 8300, 13000, 20000};
    char picture[20000] = {0};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        enum { N = 500 };
        struct store *s;
        struct store_stats stats;
        struct record r = {0};
        char *own = xasprintf("%s/%zu", path, i);
        assert_int_equal(store_open_write(&s, own, NULL), 0);
        for (int id = 0; id < N; id++) {
            record_set_u64(&r, FIELD_ID, (uint64_t)id);
            record_set_string(&r, FIELD_IMAGE, picture, lengths[i]);
            assert_int_equal(store_put(s, &r), 0);
        }
        assert_int_equal(store_close(&s), 0);
        assert_int_equal(store_open_read(&s, own), 0);
        assert_int_equal(store_stats(s, &stats), 0);
        double payload = (double)(N * lengths[i]);
        if ((double)stats.bytes > 1.3 * payload + 5 * 4096)
            fail_msg("%zu bytes take %.2f times as many", lengths[i], (double)stats.bytes / payload);
        store_close(&s);
        record_free(&r);
        free(own);
    }
}

static void test_runs_are_kept_apart(void **state)
{
    (void)state;
    struct store *s;
    assert_int_equal(store_open_write(&s, path, "run-a"), 0);
    put(s, 0);
    assert_int_equal(store_close(&s), 0);
    assert_int_equal(store_open_write(&s, path, "run-b"), -1);
    expect_error(ERR_DATA, "run-a");
    expect_error(ERR_DATA, "run-b");
    assert_null(s);
    assert_int_equal(store_open_write(&s, path, "run-a"), 0);
    put(s, 1);
    assert_int_equal(store_close(&s), 0);
    assert_int_equal(store_open_read(&s, path), 0);
    assert_string_equal(store_run(s), "run-a");
    assert_int_equal(store_close(&s), 0);
}

static void test_one_writer(void **state)
{
    (void)state;
    struct store *a, *b;
    assert_int_equal(store_open_write(&a, path, NULL), 0);
    assert_int_equal(store_open_write(&b, path, NULL), -1);
    expect_error(ERR_AGAIN, "another process writes");
    assert_int_equal(store_close(&a), 0);
}

static void test_not_a_store(void **state)
{
    (void)state;
    struct store *s;
    struct store_report report;
    assert_int_equal(store_open_read(&s, scratch), -1);
    expect_error(ERR_DATA, "no store");
    assert_int_equal(store_verify("/nonexistent", &report), -1);
}

static void test_digest_ignores_commits(void **state)
{
    (void)state;
    put_all(0, 2000);
    uint64_t once = digest();
    assert_int_equal(teardown(NULL), 0);
    setup(state);
    put_all(0, 3);
    put_all(3, 1234);
    put_all(1234, 1999);
    assert_true(digest() != once);
    put_all(1999, 2000);
    assert_true(digest() == once);
}

static void test_report_adds_up(void **state)
{
    (void)state;
    struct store_report report;
    struct store_stats stats;
    struct store *s;
    put_all(0, 700);
    assert_int_equal(store_verify(path, &report), 0);
    assert_int_equal(report.problem_count, 0);
    assert_int_equal(report.unsealed, 0);
    assert_int_equal(report.cursor, 700);
    assert_int_equal(report.kept, 600);
    assert_int_equal(report.rejects, 100);
    assert_int_equal(report.rule_count, 2);
    assert_int_equal(report.rules[0].count + report.rules[1].count, 100);
    assert_string_equal(report.rules[0].name, "language");
    assert_int_equal(store_open_read(&s, path), 0);
    assert_int_equal(store_stats(s, &stats), 0);
    assert_int_equal(stats.records, 600);
    assert_int_equal(stats.rejects, 100);
    assert_int_equal(stats.bytes, report.bytes);
    assert_int_equal(store_close(&s), 0);
}

/* Killed between commits: what was committed is whole, and writing goes on from there. */
static void test_kill_loses_only_what_was_not_committed(void **state)
{
    (void)state;
    struct store *s;
    struct store_report report;
    for (uint64_t round = 0; round < 5; round++) {
        pid_t child = fork();
        if (child == 0) {
            if (store_open_write(&s, path, NULL) < 0)
                _exit(1);
            uint64_t start = store_cursor(s);
            for (uint64_t id = start; id < start + 100; id++)
                put(s, id);
            if (store_commit(s) < 0)
                _exit(1);
            for (uint64_t id = start + 100; id < start + 150; id++)
                put(s, id);
            _exit(0);
        }
        int status;
        waitpid(child, &status, 0);
        assert_int_equal(status, 0);
        assert_int_equal(store_verify(path, &report), 0);
        assert_int_equal(report.problem_count, 0);
        assert_int_equal(report.unsealed, 1);
        expect_records((round + 1) * 100);
    }
}

static void test_endpoints(void **state)
{
    (void)state;
    struct sink *sink;
    struct source *source;
    struct record r = {0};
    char *uri = xasprintf("lmdb:%s", path);
    const struct sink_options sink_options = {.run = "r"};
    const struct source_options source_options = {.from = 20};
    assert_int_equal(sink_open(&sink, uri, &sink_options), 0);
    for (uint64_t id = 0; id < 50; id++) {
        make_record(&r, id);
        assert_int_equal(sink_put(sink, &r), 0);
    }
    assert_int_equal(sink_finish(sink), 0);
    sink_close(&sink);
    assert_int_equal(source_open(&source, uri, &source_options), 0);
    for (uint64_t id = 20; id < 50; id++) {
        assert_int_equal(source_next(source, &r), 1);
        assert_int_equal(r.id, id);
    }
    assert_int_equal(source_next(source, &r), 0);
    source_close(&source);
    record_free(&r);
    free(uri);
}

static void test_many_shards(void **state)
{
    (void)state;
    struct store_report report;
    make_small_shards(100);
    put_all(0, 300); /* ends with a full shard */
    expect_records(300);
    put_all(300, 1050);
    expect_records(1050);
    assert_int_equal(store_verify(path, &report), 0);
    assert_int_equal(report.problem_count, 0);
    assert_int_equal(report.unsealed, 0);
    assert_int_equal(report.cursor, 1050);
    assert_int_equal(report.kept + report.rejects, 1050);
}

static void test_missing_shard(void **state)
{
    (void)state;
    struct store *s;
    struct store_report report;
    make_small_shards(100);
    put_all(0, 350);
    char *shard = xasprintf("%s/000001.mdb", path);
    assert_int_equal(unlink(shard), 0);
    free(shard);
    assert_int_equal(store_open_read(&s, path), -1);
    expect_error(ERR_DATA, "shards are missing");
    assert_int_equal(store_verify(path, &report), 0);
    assert_true(report.problem_count > 0);
}

/* A shard of ids 0, 1, 3 and 4, each whole, as only another program could write it. */
static void test_missing_id(void **state)
{
    (void)state;
    static const uint64_t ids[] = {0, 1, 3, 4};
    struct store_report report;
    struct shard shard;
    struct record r = {0};
    struct buf value = {0};
    MDB_txn *txn;
    make_small_shards(100);
    assert_int_equal(shard_open(&shard, path, 0, true), 0);
    assert_int_equal(shard_begin_write(&shard, &txn), 0);
    for (size_t i = 0; i < 4; i++) {
        make_record(&r, ids[i]);
        value.len = 0;
        store_value_pack(&r, &value);
        assert_int_equal(shard_put(&shard, txn, ids[i], &value), 0);
    }
    assert_int_equal(mdb_txn_commit(txn), 0);
    assert_int_equal(shard_close(&shard, true), 0);
    assert_int_equal(store_verify(path, &report), 0);
    assert_int_equal(report.problem_count, 1);
    assert_non_null(strstr(report.problems[0], "000000.mdb: ids 2 to 2 are missing"));
    record_free(&r);
    buf_free(&value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_round_trip),
        TEST(test_empty),
        TEST(test_resume_and_duplicates),
        TEST(test_any_order_within_the_window),
        TEST(test_gap_is_an_error),
        TEST(test_much_may_wait),
        TEST(test_far_apart_over_links),
        TEST(test_values_of_all_lengths),
        TEST(test_no_length_wastes_pages),
        TEST(test_runs_are_kept_apart),
        TEST(test_one_writer),
        TEST(test_not_a_store),
        TEST(test_digest_ignores_commits),
        TEST(test_report_adds_up),
        TEST(test_kill_loses_only_what_was_not_committed),
        TEST(test_endpoints),
        TEST(test_many_shards),
        TEST(test_missing_shard),
        TEST(test_missing_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
