/*
 * The kind tar: shards written and read back, members that belong together, and shards that are cut or no tar at all.
 */
#include "scratch.h"

#include "common/endpoint.h"
#include "common/err.h"
#include <archive.h>
#include <archive_entry.h>
#include <locale.h>

static struct source *open_tar(const char *name)
{
    const struct source_options from_start = {0};
    struct source *source;
    char *uri = xasprintf("tar:%s/%s", scratch, name);
    assert_int_equal(source_open(&source, uri, &from_start), 0);
    free(uri);
    return source;
}

struct member {
    const char *name, *data;
};

/* A tar of these members, in the pax format and with `type` for all. */
static void write_members(const char *path, const struct member *members, size_t count, unsigned type)
{
    struct archive *a = archive_write_new();
    struct archive_entry *entry = archive_entry_new();
    archive_write_set_format_pax(a);
    setlocale(LC_CTYPE, "C.UTF-8"); /* libarchive's writer needs it, our reader must not */
    assert_int_equal(archive_write_open_filename(a, path), ARCHIVE_OK);
    for (size_t i = 0; i < count; i++) {
        archive_entry_clear(entry);
        archive_entry_set_pathname(entry, members[i].name);
        archive_entry_set_filetype(entry, type);
        if (type == AE_IFREG)
            archive_entry_set_size(entry, (la_int64_t)strlen(members[i].data));
        else
            archive_entry_set_symlink(entry, members[i].data);
        assert_true(archive_write_header(a, entry) >= ARCHIVE_WARN);
        if (type == AE_IFREG)
            assert_int_equal(archive_write_data(a, members[i].data, strlen(members[i].data)), strlen(members[i].data));
    }
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
    archive_entry_free(entry);
    setlocale(LC_CTYPE, "C");
}
#define WRITE_MEMBERS(path, members) write_members(path, members, sizeof(members) / sizeof *(members), AE_IFREG)

static void assert_text(const struct buf *b, const char *text)
{
    assert_int_equal(b->len, strlen(text));
    assert_memory_equal(b->data, text, b->len);
}

static void put(struct sink *sink, uint64_t id, size_t image_bytes)
{
    struct record r = {0};
    struct buf image = {0};
    buf_append(&image, "\xFF\xD8\xFF", 3);
    while (image.len < image_bytes)
        buf_printf(&image, "%d", (int)image.len);
    record_set_u64(&r, FIELD_ID, id);
    record_set_string(&r, FIELD_CAPTION, "a caption", 9);
    record_set_string(&r, FIELD_IMAGE, image.data, image_bytes);
    assert_int_equal(sink_put(sink, &r), 0);
    buf_free(&image);
    record_free(&r);
}

static void write_shard(const char *name, uint64_t records)
{
    const struct sink_options plain = {0};
    struct sink *sink;
    char *uri = xasprintf("tar:%s/%s", scratch, name);
    assert_int_equal(sink_open(&sink, uri, &plain), 0);
    for (uint64_t id = 0; id < records; id++)
        put(sink, id, 300 + 400 * (size_t)id);
    assert_int_equal(sink_finish(sink), 0);
    sink_close(&sink);
    free(uri);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const char *const names[] = {"a.tar", "a.tar.gz", "a.tgz", "a.tar.zst", "a.tar.xz"};
    struct record r = {0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        write_shard(names[i], 4);
        struct source *source = open_tar(names[i]);
        for (uint64_t id = 0; id < 4; id++) {
            char key[64];
            assert_int_equal(source_next(source, &r), 1);
            assert_int_equal(r.id, id);
            assert_false(record_has(&r, FIELD_REJECT));
            assert_text(&r.caption, "a caption");
            assert_int_equal(r.image.len, 300 + 400 * id);
            snprintf(key, sizeof key, "%s/%09d", names[i], (int)id);
            assert_text(&r.key, key);
        }
        assert_int_equal(source_next(source, &r), 0);
        assert_int_equal(source_next(source, &r), 0);
        source_close(&source);
    }
    write_shard("none.tar", 0);
    struct source *source = open_tar("none.tar");
    assert_int_equal(source_next(source, &r), 0);
    source_close(&source);
    record_free(&r);
}

static void test_same_bytes(void **state)
{
    (void)state;
    struct buf a = {0}, b = {0};
    write_shard("b1.tar", 3);
    write_shard("b2.tar", 3);
    assert_int_equal(file_read(scratch_path("b1.tar"), 1 << 20, &a), 0);
    assert_int_equal(file_read(scratch_path("b2.tar"), 1 << 20, &b), 0);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    buf_free(&a);
    buf_free(&b);
}

static void test_members(void **state)
{
    (void)state;
    static const struct member members[] = {
        {"x/001.jpg", "picture"},
        {"x/001.cls", "7"},
        {"x/001.json", "{\"caption\":\"from json\",\"url\":\"u\"}"},
        {"x/002.txt", "two\r\n"},
        {"x/002.json", "{\"caption\":\"not this\"}"},
        {"x/002.seg.png", "other"},
        {"x.y/002.JPEG", "same last part, another folder"},
        {"../../etc/passwd", "only data"},
        {"\xC3\xA4\xE4\xB8\xAD.png", "umlaut"},
        {"bad.json", "{\"caption\":"},
        {"twice.png", "1"},
        {"twice.jpg", "2"},
    };
    struct record r = {0};
    WRITE_MEMBERS(scratch_path("members.tar"), members);
    struct source *source = open_tar("members.tar");
    assert_int_equal(source_next(source, &r), 1);
    assert_text(&r.key, "members.tar/x/001");
    assert_text(&r.image, "picture");
    assert_text(&r.caption, "from json");
    assert_int_equal(source_next(source, &r), 1);
    assert_text(&r.caption, "two");
    assert_false(record_has(&r, FIELD_IMAGE));
    assert_int_equal(source_next(source, &r), 1);
    assert_text(&r.key, "members.tar/x.y/002");
    assert_text(&r.image, "same last part, another folder");
    assert_int_equal(r.id, 2);
    assert_int_equal(source_next(source, &r), 1);
    assert_text(&r.key, "members.tar/../../etc/passwd");
    assert_int_equal(r.present, 1 << FIELD_ID | 1 << FIELD_KEY);
    assert_int_equal(source_next(source, &r), 1);
    assert_text(&r.key, "members.tar/\xC3\xA4\xE4\xB8\xAD");
    assert_text(&r.image, "umlaut");
    assert_int_equal(source_next(source, &r), 1);
    assert_non_null(strstr(buf_string(&r.reject), "json: "));
    assert_int_equal(source_next(source, &r), 1);
    assert_text(&r.reject, "image: two of one name");
    assert_int_equal(source_next(source, &r), 0);
    source_close(&source);

    /* As img2dataset writes them. */
    static const struct member loaded[] = {
        {"0.jpg", "p"},
        {"0.json", "{\"caption\":\"a\",\"url\":\"http://h/0\",\"status\":\"success\",\"error_message\":null}"},
        {"0.txt", "a"},
        {"1.json", "{\"url\":\"http://h/1\",\"status\":\"failed_to_download\",\"error_message\":\"404\"}"},
    };
    struct buf json = {0};
    WRITE_MEMBERS(scratch_path("loaded.tar"), loaded);
    source = open_tar("loaded.tar");
    assert_int_equal(source_next(source, &r), 1);
    assert_false(record_has(&r, FIELD_REJECT));
    assert_text(&r.caption, "a");
    record_to_json(&r, &json);
    assert_non_null(strstr(buf_string(&json), "\"url\":\"http://h/0\""));
    assert_int_equal(source_next(source, &r), 1);
    assert_text(&r.reject, "download: 404");
    source_close(&source);
    buf_free(&json);

    static const struct member links[] = {{"l.jpg", "/etc/passwd"}};
    write_members(scratch_path("links.tar"), links, 1, AE_IFLNK);
    source = open_tar("links.tar"); /* never followed, never lost */
    assert_int_equal(source_next(source, &r), 1);
    assert_non_null(strstr(buf_string(&r.reject), "l.jpg is a link to /etc/passwd"));
    assert_false(record_has(&r, FIELD_IMAGE));
    assert_int_equal(source_next(source, &r), 0);
    source_close(&source);
    record_free(&r);
}

static void test_long_caption(void **state)
{
    (void)state;
    size_t limit = record_fields[FIELD_CAPTION].limit;
    struct record r = {0};
    char *longest = xmalloc(3 * limit + 1), *json = xmalloc(3 * limit + 20);
    memset(longest, 'w', 3 * limit);
    longest[3 * limit] = 0;
    snprintf(json, 3 * limit + 20, "{\"caption\":\"%s\"}", longest);
    const struct member members[] = {
        {"1.jpg", "p"}, {"1.txt", longest}, {"2.json", json}, {"3.jpg", "p"}, {"3.txt", longest + 2 * limit}};
    WRITE_MEMBERS(scratch_path("long.tar"), members);
    struct source *source = open_tar("long.tar");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(source_next(source, &r), 1);
        assert_text(&r.reject, "caption: 3145728 bytes, limit 1048576");
        assert_in_range(r.caption.len, 1, 1024);
        assert_false(record_has(&r, FIELD_IMAGE));
    }
    assert_int_equal(source_next(source, &r), 1);
    assert_false(record_has(&r, FIELD_REJECT));
    assert_int_equal(r.caption.len, limit);
    assert_int_equal(source_next(source, &r), 0);
    source_close(&source);
    free(longest);
    free(json);
    record_free(&r);
}

/* Reads a shard of 3 records, cut after `len` bytes, and a whole one of 2 behind it. */
static void check_cut(const unsigned char *data, size_t len, size_t whole)
{
    struct record r = {0};
    uint64_t kept = 0, rejects = 0, records = 0;
    scratch_write(scratch_path("cut-0.tar"), data, len);
    struct source *source = open_tar("cut-{0..1}.tar");
    int got;
    while ((got = source_next(source, &r)) == 1) {
        assert_int_equal(r.id, records++);
        if (!record_has(&r, FIELD_REJECT)) {
            /* Each record is whole, in either shard. */
            assert_int_equal((r.image.len - 300) % 400, 0);
            assert_text(&r.caption, "a caption");
            kept++;
            continue;
        }
        rejects++;
        assert_non_null(strstr(buf_string(&r.reject), "cut-0.tar: "));
        assert_int_equal(memcmp(r.reject.data, "shard: ", 7), 0);
    }
    assert_int_equal(got, 0);
    assert_int_equal(rejects, len < whole);
    assert_in_range(kept, 2, len < whole ? 4 : 5);
    source_close(&source);
    record_free(&r);
}

static void test_cut_shard(void **state)
{
    (void)state;
    struct buf data = {0};
    write_shard("cut-1.tar", 2);
    write_shard("whole.tar", 3);
    assert_int_equal(file_read(scratch_path("whole.tar"), 1 << 20, &data), 0);
    /* The end mark begins behind the last member's padding; its first block is enough. */
    size_t end = data.len;
    while (data.data[end - 1] == 0)
        end--;
    end = (end + 511) / 512 * 512;
    for (size_t len = 0; len < end; len += 97)
        check_cut(data.data, len, end + 512);
    for (size_t len = 0; len <= end; len += 512)
        check_cut(data.data, len, end + 512);
    check_cut(data.data, end + 512, end + 512);
    check_cut(data.data, end + 1024, end + 512);
    buf_free(&data);

    write_shard("whole.tar.gz", 3);
    assert_int_equal(file_read(scratch_path("whole.tar.gz"), 1 << 20, &data), 0);
    for (size_t len = 0; len + 8 < data.len; len += 31) /* the last 8 bytes are gzip's sums */
        check_cut(data.data, len, data.len);
    buf_free(&data);
}

static void test_garbage(void **state)
{
    (void)state;
    struct record r = {0};
    unsigned char noise[20000];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (unsigned char)(i * i * 31 >> 5);
    scratch_write(scratch_path("g0.tar"), noise, sizeof noise);
    scratch_write(scratch_path("g1.tar"), "", 0);
    write_shard("g2.tar", 1);
    scratch_write(scratch_path("g3.tar"), "<html>404</html>", 16);
    struct source *source = open_tar("g{0..3}.tar");
    static const bool rejected[] = {true, true, false, true};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(source_next(source, &r), 1);
        assert_int_equal(r.id, i);
        assert_int_equal(record_has(&r, FIELD_REJECT), rejected[i]);
    }
    assert_text(&r.key, "g3.tar");
    assert_int_equal(source_next(source, &r), 0);
    source_close(&source);
    record_free(&r);
}

/* Whatever is changed in a shard, reading it ends, and ids stay dense. */
static void test_flipped_bytes(void **state)
{
    (void)state;
    struct record r = {0};
    struct buf data = {0};
    write_shard("flip.tar", 2);
    assert_int_equal(file_read(scratch_path("flip.tar"), 1 << 20, &data), 0);
    for (size_t at = 0; at < 4096; at += 7) {
        data.data[at] ^= 0x55;
        scratch_write(scratch_path("flipped.tar"), data.data, data.len);
        data.data[at] ^= 0x55;
        struct source *source = open_tar("flipped.tar");
        uint64_t records = 0;
        while (source_next(source, &r) == 1)
            assert_int_equal(r.id, records++);
        assert_in_range(records, 1, 7);
        source_close(&source);
    }
    record_free(&r);
    buf_free(&data);
}

static void test_missing_shard(void **state)
{
    (void)state;
    const struct source_options from_start = {0};
    struct source *source;
    char *uri = xasprintf("tar:%s/m{0..1}.tar", scratch);
    write_shard("m0.tar", 1);
    assert_int_equal(source_open(&source, uri, &from_start), -1);
    assert_non_null(strstr(err_text(), "m1.tar (2 of 2): No such file"));
    free(uri);
}

static void test_rolling(void **state)
{
    (void)state;
    const struct sink_options plain = {0};
    struct record r = {0};
    struct sink *sink;
    char *uri = xasprintf("tar:%s/roll-{00..01}.tar", scratch);
    assert_int_equal(sink_open(&sink, uri, &plain), 0);
    for (uint64_t id = 0; id < 20000; id++)
        put(sink, id, 3);
    record_set_u64(&r, FIELD_ID, 20000);
    assert_int_equal(sink_put(sink, &r), -1);
    assert_non_null(strstr(err_text(), "give more"));
    sink_close(&sink); /* unfinished: the second has no name yet */
    assert_int_equal(access(scratch_path("roll-00.tar"), F_OK), 0);
    assert_int_equal(access(scratch_path("roll-01.tar"), F_OK), -1);
    struct source *source = open_tar("roll-00.tar");
    uint64_t records = 0;
    while (source_next(source, &r) == 1)
        assert_int_equal(r.id, records++);
    assert_int_equal(records, 10000);
    source_close(&source);
    free(uri);
    record_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_same_bytes),    cmocka_unit_test(test_members),
        cmocka_unit_test(test_long_caption),  cmocka_unit_test(test_cut_shard),     cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_flipped_bytes), cmocka_unit_test(test_missing_shard), cmocka_unit_test(test_rolling),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
