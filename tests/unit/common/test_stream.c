/*
 * The record stream: what goes in comes out, and a stream that was cut or changed anywhere is an error.
 */
#include "scratch.h"

#include "common/endpoint.h"
#include "common/err.h"

#define RECORDS 5

static const struct source_options from_start = {0};
static const struct sink_options plain = {0};

/* Gives all bytes of a file that is positioned anywhere. */
static void slurp(int fd, struct buf *out)
{
    off_t size = lseek(fd, 0, SEEK_END);
    out->len = 0;
    buf_reserve(out, (size_t)size);
    assert_int_equal(pread(fd, out->data, (size_t)size, 0), size);
    out->len = (size_t)size;
}

static void fill(struct record *r, uint64_t id)
{
    record_clear(r);
    record_set_u64(r, FIELD_ID, id);
    record_set_string(r, FIELD_CAPTION, "a red square and a blue circle", 7 * id % 31);
    if (id == 3)
        record_reject(r, "test: %s", "three");
}

static void write_stream(uint64_t records, bool finish, struct buf *out)
{
    struct record r = {0};
    struct sink *sink;
    int file = memory_file("", 0), before = lend(STDOUT_FILENO, dup(file));
    assert_int_equal(sink_open(&sink, "-", &plain), 0);
    for (uint64_t id = 0; id < records; id++) {
        fill(&r, id);
        assert_int_equal(sink_put(sink, &r), 0);
    }
    if (finish)
        assert_int_equal(sink_finish(sink), 0);
    sink_close(&sink);
    unlend(STDOUT_FILENO, before);
    slurp(file, out);
    close(file);
    record_free(&r);
}

/* Reads to the end: how many records came; what ended it in `end`. */
static uint64_t read_stream(const void *data, size_t len, int *end)
{
    struct record r = {0};
    struct source *source;
    uint64_t records = 0;
    int before = lend(STDIN_FILENO, memory_file(data, len));
    assert_int_equal(source_open(&source, "-", &from_start), 0);
    while ((*end = source_next(source, &r)) > 0) {
        assert_int_equal(r.id, records);
        records++;
    }
    source_close(&source);
    unlend(STDIN_FILENO, before);
    record_free(&r);
    return records;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct buf bytes = {0};
    int end;
    write_stream(RECORDS, true, &bytes);
    assert_int_equal(read_stream(bytes.data, bytes.len, &end), RECORDS);
    assert_int_equal(end, 0);
    write_stream(0, true, &bytes);
    assert_int_equal(read_stream(bytes.data, bytes.len, &end), 0);
    assert_int_equal(end, 0);
    buf_free(&bytes);
}

static void test_large_record(void **state)
{
    (void)state;
    struct record r = {0};
    struct buf picture = {0}, bytes = {0};
    struct sink *sink;
    struct source *source;
    buf_reserve(&picture, 5 << 20);
    picture.len = 5 << 20;
    memset(picture.data, 7, picture.len);
    record_set_string(&r, FIELD_IMAGE, picture.data, picture.len);
    int file = memory_file("", 0), before = lend(STDOUT_FILENO, dup(file));
    assert_int_equal(sink_open(&sink, "-", &plain), 0);
    assert_int_equal(sink_put(sink, &r), 0);
    assert_int_equal(sink_finish(sink), 0);
    sink_close(&sink);
    unlend(STDOUT_FILENO, before);
    slurp(file, &bytes);
    close(file);
    record_clear(&r);
    before = lend(STDIN_FILENO, memory_file(bytes.data, bytes.len));
    assert_int_equal(source_open(&source, "-", &from_start), 0);
    assert_int_equal(source_next(source, &r), 1);
    assert_int_equal(r.image.len, picture.len);
    assert_memory_equal(r.image.data, picture.data, picture.len);
    assert_int_equal(source_next(source, &r), 0);
    source_close(&source);
    unlend(STDIN_FILENO, before);
    record_free(&r);
    buf_free(&picture);
    buf_free(&bytes);
}

static void test_from(void **state)
{
    (void)state;
    const struct source_options from_two = {.from = 2};
    struct record r = {0};
    struct buf bytes = {0};
    struct source *source;
    write_stream(RECORDS, true, &bytes);
    int before = lend(STDIN_FILENO, memory_file(bytes.data, bytes.len));
    assert_int_equal(source_open(&source, "-", &from_two), 0);
    assert_int_equal(source_next(source, &r), 1);
    assert_int_equal(r.id, 2);
    source_close(&source);
    unlend(STDIN_FILENO, before);
    record_free(&r);
    buf_free(&bytes);
}

static void test_cut_anywhere(void **state)
{
    (void)state;
    struct buf bytes = {0};
    int end;
    write_stream(RECORDS, true, &bytes);
    for (size_t len = 0; len < bytes.len; len++) {
        assert_in_range(read_stream(bytes.data, len, &end), 0, RECORDS);
        assert_int_equal(end, -1);
        assert_int_equal(err_code(), ERR_AGAIN);
        assert_non_null(strstr(err_text(), "stream cut after"));
    }
    write_stream(RECORDS, false, &bytes); /* closed, not finished */
    assert_int_equal(read_stream(bytes.data, bytes.len, &end), RECORDS);
    assert_int_equal(end, -1);
    assert_string_equal(err_text(),
                        "stdin: stream cut after 5 records: the program that wrote it failed or was stopped");
    buf_free(&bytes);
}

static void test_flipped_bits(void **state)
{
    (void)state;
    struct buf bytes = {0};
    int end;
    write_stream(RECORDS, true, &bytes);
    for (size_t bit = 0; bit < 8 * bytes.len; bit++) {
        bytes.data[bit / 8] ^= (unsigned char)(1 << bit % 8);
        assert_in_range(read_stream(bytes.data, bytes.len, &end), 0, RECORDS);
        assert_int_equal(end, -1);
        bytes.data[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    buf_append(&bytes, "x", 1);
    read_stream(bytes.data, bytes.len, &end);
    assert_int_equal(end, -1);
    assert_non_null(strstr(err_text(), "bytes behind its end mark"));
    read_stream("a caption, not a stream\n", 24, &end);
    assert_int_equal(end, -1);
    assert_non_null(strstr(err_text(), "not a record stream"));
    buf_free(&bytes);
}

/* A frame taken out or put in twice passes every checksum but the count's. */
static void test_lost_record(void **state)
{
    (void)state;
    struct buf bytes = {0}, changed = {0};
    int end;
    write_stream(1, true, &bytes);
    buf_append(&changed, bytes.data, 8);
    buf_append(&changed, bytes.data + bytes.len - 16, 16);
    assert_int_equal(read_stream(changed.data, changed.len, &end), 0);
    assert_int_equal(end, -1);
    assert_non_null(strstr(err_text(), "its end mark counts others"));
    buf_free(&bytes);
    buf_free(&changed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_large_record), cmocka_unit_test(test_from),
        cmocka_unit_test(test_cut_anywhere), cmocka_unit_test(test_flipped_bits), cmocka_unit_test(test_lost_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
