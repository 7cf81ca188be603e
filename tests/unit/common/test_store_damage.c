/* A damaged store: verify finds all of it, readers meet it with errors. */
#include "test_store.h"

/* A fork under the address sanitizer takes fifty times as long. */
#ifdef __SANITIZE_ADDRESS__
#define DAMAGE_TRIALS 40
#else
#define DAMAGE_TRIALS 300
#endif

static void overwrite(const char *file, const struct buf *content)
{
    int fd = open(file, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content->data, content->len), content->len);
    close(fd);
}

/* Every flipped bit and every cut of every file is found, and verify comes back from each. */
static void test_damage_is_found(void **state)
{
    (void)state;
    static const char *const files[] = {"000000.mdb", "000001.mdb", "000000.sum", "meta.json"};
    enum { TRIALS = DAMAGE_TRIALS };
    struct store_report report;
    make_small_shards(60);
    put_all(0, 100);
    for (uint64_t i = 0; i < TRIALS; i++) {
        struct random4 draw = random_philox(5, 0, i);
        char *file = xasprintf("%s/%s", path, files[draw.v[0] % 8 < 5 ? 0 : draw.v[0] % 8 - 4]);
        struct buf whole = {0}, hurt = {0};
        assert_int_equal(file_read(file, 1 << 24, &whole), 0);
        buf_append(&hurt, whole.data, whole.len);
        if (draw.v[1] % 4 == 0)
            hurt.len = draw.v[2] % whole.len;
        else
            hurt.data[draw.v[2] % whole.len] ^= (unsigned char)(1u << draw.v[3] % 8);
        overwrite(file, &hurt);
        int rc = store_verify(path, &report);
        if (rc == 0 && report.problem_count == 0)
            fail_msg("trial %d: damage of %s at %u was not found", (int)i, file, draw.v[2] % (unsigned)whole.len);
        overwrite(file, &whole);
        buf_free(&whole);
        buf_free(&hurt);
        free(file);
    }
    assert_int_equal(store_verify(path, &report), 0);
    assert_int_equal(report.problem_count, 0);
}

/* Without checksum files the walk alone must not crash, and finds all that harms a record. */
static void test_damage_without_sums(void **state)
{
    (void)state;
    enum { TRIALS = DAMAGE_TRIALS, RECORDS = 100 };
    struct store_report report;
    struct buf whole = {0};
    put_all(0, RECORDS);
    uint64_t right = digest();
    char *file = xasprintf("%s/000000.mdb", path), *sum = xasprintf("%s/000000.sum", path);
    assert_int_equal(unlink(sum), 0);
    assert_int_equal(file_read(file, 1 << 24, &whole), 0);
    for (uint64_t i = 0; i < TRIALS; i++) {
        struct random4 draw = random_philox(6, 0, i);
        struct buf hurt = {0};
        buf_append(&hurt, whole.data, whole.len);
        for (uint32_t flip = 0; flip <= draw.v[0] % 3; flip++) {
            struct random4 place = random_philox(7, flip, i);
            /* Where the tree is: its pages' headers and the two meta pages. */
            size_t at =
                draw.v[1] % 2 ? place.v[1] % whole.len : (place.v[1] % (whole.len / 4096)) * 4096 + place.v[2] % 160;
            hurt.data[at] ^= (unsigned char)(1u << place.v[3] % 8);
        }
        overwrite(file, &hurt);
        if (store_verify(path, &report) == 0 && report.problem_count == 0) {
            assert_int_equal(report.cursor, RECORDS);
            assert_true(digest() == right);
        }
        buf_free(&hurt);
    }
    buf_free(&whole);
    free(file);
    free(sum);
}

/* A reader meets a cut file with an error, not with SIGBUS. */
static void test_cut_file_is_an_error(void **state)
{
    (void)state;
    struct store *s;
    put_all(0, 1000);
    char *file = xasprintf("%s/000000.mdb", path);
    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    for (off_t cut = 1; cut < st.st_size; cut += st.st_size / 7) {
        assert_int_equal(truncate(file, st.st_size - cut), 0);
        assert_int_equal(store_open_read(&s, path), -1);
        assert_int_equal(store_open_write(&s, path, NULL), -1);
    }
    free(file);
}

/* One damaged value does not hide the others. */
static void test_damaged_record_becomes_a_reject(void **state)
{
    (void)state;
    struct source *source;
    struct record r = {0};
    struct buf content = {0};
    const struct source_options options = {0};
    uint64_t rejects = 0, count = 0;
    put_all(0, 6);
    char *file = xasprintf("%s/000000.mdb", path), *uri = xasprintf("lmdb:%s", path);
    assert_int_equal(file_read(file, 1 << 24, &content), 0);
    unsigned char *at = memmem(content.data, content.len, "caption number 3", 16);
    assert_non_null(at);
    *at ^= 1;
    overwrite(file, &content);
    assert_int_equal(source_open(&source, uri, &options), 0);
    while (source_next(source, &r) > 0) {
        count++;
        if (record_has(&r, FIELD_REJECT)) {
            rejects++;
            assert_int_equal(r.id, 3);
        }
    }
    assert_int_equal(count, 6);
    assert_int_equal(rejects, 1);
    source_close(&source);
    record_free(&r);
    buf_free(&content);
    free(file);
    free(uri);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_damage_is_found),
        TEST(test_damage_without_sums),
        TEST(test_cut_file_is_an_error),
        TEST(test_damaged_record_becomes_a_reject),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
