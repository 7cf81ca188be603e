/*
 * What the store's tests share: a store in a directory of its own, and records that are functions of their ids.
 */
#ifndef ATELIER_TESTS_UNIT_COMMON_TEST_STORE_H
#define ATELIER_TESTS_UNIT_COMMON_TEST_STORE_H

#include "common/endpoint.h"
#include "common/err.h"
#include "common/random.h"
#include "common/store_private.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char *scratch, *path;

static inline int setup(void **state)
{
    char template[] = "/tmp/atelier-store-XXXXXX";
    *state = NULL;
    scratch = xstrdup(mkdtemp(template));
    path = xasprintf("%s/store", scratch);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    char *command = xasprintf("rm -rf '%s'", scratch);
    int rc = system(command); /* NOLINT(cert-env33-c) */
    free(command);
    free(scratch);
    free(path);
    return rc;
}

/* A record whose every field is a function of its id: some with codes of each width, every seventh a reject. */
static inline void make_record(struct record *r, uint64_t id)
{
    int32_t codes[200], tokens[3] = {(int32_t)id, 7, 16383};
    static const int32_t ranges[] = {8192, 65536, INT32_MAX};
    record_clear(r);
    record_set_u64(r, FIELD_ID, id);
    record_set_key(r, "shard.tar/%llu", (unsigned long long)id);
    char caption[100];
    int len = snprintf(caption, sizeof caption, "caption number %llu", (unsigned long long)id);
    record_set_string(r, FIELD_CAPTION, caption, (size_t)len);
    if (id % 7 == 6) {
        record_reject(r, "%s: detail %llu", id % 2 ? "short" : "language", (unsigned long long)id);
        return;
    }
    record_set_ints(r, FIELD_TOKENS, tokens, 3);
    size_t count = id % 5 == 4 ? 0 : 1 + id % 200;
    for (size_t i = 0; i < count; i++)
        codes[i] = (int32_t)(random_philox(1, id, i).v[0] % (uint32_t)ranges[id % 3]);
    record_set_ints(r, FIELD_CODES, codes, count);
    record_set_number(r, FIELD_GRID, 8);
}

static inline void put(struct store *s, uint64_t id)
{
    struct record r = {0};
    make_record(&r, id);
    assert_int_equal(store_put(s, &r), 0);
    record_free(&r);
}

static inline void put_all(uint64_t from, uint64_t to)
{
    struct store *s;
    assert_int_equal(store_open_write(&s, path, NULL), 0);
    for (uint64_t id = from; id < to; id++)
        put(s, id);
    assert_int_equal(store_close(&s), 0);
    assert_null(s);
}

/* A tombstone keeps id, key and reason; all else is as it was given. */
static inline void expect_records(uint64_t count)
{
    struct store *s;
    struct record want = {0}, got = {0};
    struct buf a = {0}, b = {0};
    assert_int_equal(store_open_read(&s, path), 0);
    assert_int_equal(store_cursor(s), count);
    for (uint64_t id = 0; id < count; id++) {
        make_record(&want, id);
        if (record_has(&want, FIELD_REJECT))
            record_drop(&want, FIELD_CAPTION);
        assert_int_equal(store_get(s, id, &got), 1);
        a.len = b.len = 0;
        record_pack(&want, &a);
        record_pack(&got, &b);
        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.data, b.data, a.len);
    }
    assert_int_equal(store_get(s, count, &got), 0);
    assert_int_equal(store_get(s, UINT64_MAX, &got), 0);
    assert_int_equal(store_close(&s), 0);
    buf_free(&a);
    buf_free(&b);
    record_free(&want);
    record_free(&got);
}

/* A store of small shards stands for one of millions of records. */
static inline void make_small_shards(uint64_t records)
{
    struct store_meta meta = {records, NULL};
    assert_int_equal(file_make_dirs(path), 0);
    assert_int_equal(store_meta_write(&meta, path), 0);
}

static inline void expect_error(int code, const char *text)
{
    assert_int_equal(err_code(), code);
    if (!strstr(err_text(), text))
        fail_msg("'%s' is not in the error: %s", text, err_text());
}

static inline uint64_t digest(void)
{
    struct store *s;
    uint64_t value;
    assert_int_equal(store_open_read(&s, path), 0);
    assert_int_equal(store_digest(s, &value), 0);
    assert_int_equal(store_close(&s), 0);
    return value;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
