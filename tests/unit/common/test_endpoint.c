/*
 * The kinds jsonl, text and dir, and names of kinds. (The stream, tar and the store have tests of their own.)
 */
#include "scratch.h"

#include "common/endpoint.h"
#include "common/err.h"

static const struct source_options from_start = {0};

static struct source *open_source(const char *scheme, const char *path)
{
    struct source *source;
    char *uri = xasprintf("%s:%s", scheme, path);
    assert_int_equal(source_open(&source, uri, &from_start), 0);
    free(uri);
    return source;
}

static struct sink *open_sink(const char *scheme, const char *path, bool keep_rejects)
{
    const struct sink_options options = {.keep_rejects = keep_rejects};
    struct sink *sink;
    char *uri = xasprintf("%s:%s", scheme, path);
    assert_int_equal(sink_open(&sink, uri, &options), 0);
    free(uri);
    return sink;
}

static void finish(struct sink *sink)
{
    assert_int_equal(sink_finish(sink), 0);
    sink_close(&sink);
}

static void assert_text(const struct buf *b, const char *text)
{
    assert_int_equal(b->len, strlen(text));
    assert_memory_equal(b->data, text, b->len);
}

static void assert_file(const char *path, const char *text)
{
    struct buf b = {0};
    assert_int_equal(file_read(path, 1 << 20, &b), 0);
    assert_string_equal(buf_string(&b), text);
    buf_free(&b);
}

static void refused(int result, const char *why)
{
    assert_int_equal(result, -1);
    assert_non_null(strstr(err_text(), why));
}

static void test_names_of_kinds(void **state)
{
    (void)state;
    const struct sink_options plain = {0};
    struct source *source;
    struct sink *sink;
    refused(source_open(&source, "file.tar", &from_start), "file.tar: no kind of source; known are");
    refused(source_open(&source, "ftp:x", &from_start), "known are");
    refused(source_open(&source, "--", &from_start), "known are");
    refused(source_open(&source, "", &from_start), "known are");
    refused(source_open(&source, "text:", &from_start), "missing");
    refused(source_open(&source, "text:/none/such", &from_start), "cannot read from text:/none/such");
    refused(source_open(&source, "jsonl:/", &from_start), "is a directory");
    refused(source_open(&source, "dir:/none/such", &from_start), "cannot read from dir:/none/such");
    refused(sink_open(&sink, "zip:x", &plain), "zip:x: no kind of sink; known are");
    refused(sink_open(&sink, "text:/none/such/x", &plain), "cannot write to text:/none/such/x");
    refused(sink_open(&sink, "dir:/dev/null", &plain), "cannot write to dir:/dev/null");
}

static void test_text(void **state)
{
    (void)state;
    static const char *const captions[] = {"one", "", "t\xC3\xA4wo", "last"};
    struct record r = {0};
    const char *in = scratch_path("in.txt"), *out = scratch_path("out.txt");
    scratch_write(in, "one\r\n\nt\xC3\xA4wo\nlast", 16);
    struct source *source = open_source("text", in);
    struct sink *sink = open_sink("text", out, false);
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(source_next(source, &r), 1);
        assert_int_equal(r.id, i);
        assert_text(&r.caption, captions[i]);
        assert_int_equal(sink_put(sink, &r), 0);
    }
    assert_int_equal(source_next(source, &r), 0);
    char *key = xasprintf("%s:4", in);
    assert_text(&r.key, key);
    free(key);
    record_set_string(&r, FIELD_CAPTION, "a\nb\r\nc", 6);
    assert_int_equal(sink_put(sink, &r), 0);
    record_reject(&r, "test: no");
    assert_int_equal(sink_put(sink, &r), 0); /* not written: kept records alone */
    assert_int_equal(access(out, F_OK), -1); /* no name before it is whole */
    finish(sink);
    assert_file(out, "one\n\nt\xC3\xA4wo\nlast\na b  c\n");
    source_close(&source);
    record_free(&r);
}

static void test_long_lines(void **state)
{
    (void)state;
    size_t limit = record_fields[FIELD_CAPTION].limit;
    struct record r = {0};
    struct buf lines = {0};
    const char *path = scratch_path("long.txt");
    const size_t lengths[] = {3 * limit, limit, limit + 1};
    for (size_t i = 0; i < 3; i++) {
        buf_reserve(&lines, lengths[i]);
        memset(lines.data + lines.len, 'a', lengths[i]);
        lines.len += lengths[i];
        buf_append(&lines, "\r\n", 2);
    }
    buf_append(&lines, "short", 5);
    scratch_write(path, lines.data, lines.len);
    struct source *source = open_source("text", path);
    assert_int_equal(source_next(source, &r), 1);
    assert_text(&r.reject, "caption: 3145728 bytes, limit 1048576");
    assert_in_range(r.caption.len, 1, 1024);
    assert_int_equal(source_next(source, &r), 1);
    assert_false(record_has(&r, FIELD_REJECT));
    assert_int_equal(r.caption.len, limit);
    assert_int_equal(source_next(source, &r), 1);
    assert_text(&r.reject, "caption: 1048577 bytes, limit 1048576");
    assert_int_equal(source_next(source, &r), 1);
    assert_text(&r.caption, "short");
    assert_int_equal(source_next(source, &r), 0);
    source_close(&source);
    buf_free(&lines);
    record_free(&r);
}

static void test_jsonl(void **state)
{
    (void)state;
    static const char lines[] = "{\"id\":9,\"caption\":\"a\",\"key\":\"k\",\"more\":[1]}\n"
                                "\n"
                                "not json\n"
                                "{\"reject\":\"old: one\",\"image\":\"AAAA\"}\n"
                                "{\"caption\":3}";
    struct record r = {0};
    const char *in = scratch_path("in.jsonl"), *out = scratch_path("out.jsonl"), *all = scratch_path("all.jsonl");
    scratch_write(in, lines, sizeof lines - 1);
    struct source *source = open_source("jsonl", in);
    struct sink *kept = open_sink("jsonl", out, false), *sink = open_sink("jsonl", all, true);
    uint64_t records = 0;
    while (source_next(source, &r) == 1) {
        assert_int_equal(r.id, records++);
        assert_int_equal(record_has(&r, FIELD_REJECT), r.id > 0);
        assert_false(record_has(&r, FIELD_IMAGE));
        assert_int_equal(sink_put(kept, &r), 0);
        assert_int_equal(sink_put(sink, &r), 0);
    }
    assert_int_equal(records, 4);
    finish(kept);
    finish(sink);
    source_close(&source);
    assert_file(out, "{\"id\":0,\"key\":\"k\",\"caption\":\"a\",\"more\":[1]}\n");
    source = open_source("jsonl", all);
    for (records = 0; source_next(source, &r) == 1; records++)
        continue;
    assert_int_equal(records, 4);
    source_close(&source);
    record_free(&r);
}

static void test_dir(void **state)
{
    (void)state;
    struct record r = {0};
    assert_int_equal(file_make_dirs(scratch_path("pictures/d.png")), 0); /* a folder with a picture's name */
    scratch_write(scratch_path("pictures/b.jpg"), "jpeg", 4);
    scratch_write(scratch_path("pictures/b.txt"), "bee\n", 4);
    scratch_write(scratch_path("pictures/a.1.PNG"), "png", 3);
    scratch_write(scratch_path("pictures/a.1.txt"), "ay", 2);
    scratch_write(scratch_path("pictures/c.webp"), "", 0);
    scratch_write(scratch_path("pictures/notes.md"), "x", 1);
    struct source *source = open_source("dir", scratch_path("pictures"));
    assert_int_equal(source_next(source, &r), 1);
    assert_text(&r.caption, "ay");
    assert_text(&r.image, "png");
    assert_int_equal(source_next(source, &r), 1);
    assert_int_equal(r.id, 1);
    assert_text(&r.caption, "bee");
    assert_int_equal(source_next(source, &r), 1);
    assert_false(record_has(&r, FIELD_CAPTION));
    assert_int_equal(r.image.len, 0);
    assert_int_equal(source_next(source, &r), 0);
    source_close(&source);

    struct sink *sink = open_sink("dir", scratch_path("out/deep"), false);
    record_clear(&r);
    record_set_u64(&r, FIELD_ID, 12);
    record_set_string(&r, FIELD_CAPTION, "cap", 3);
    record_set_string(&r, FIELD_IMAGE, "\xFF\xD8\xFF\xE0", 4);
    assert_int_equal(sink_put(sink, &r), 0);
    record_set_number(&r, FIELD_CANDIDATE, 3);
    record_set_number(&r, FIELD_SCORE, 0.5);
    record_set_string(&r, FIELD_IMAGE, "\x89PNG\r\n", 6);
    assert_int_equal(sink_put(sink, &r), 0);
    finish(sink);
    assert_file(scratch_path("out/deep/000000012.jpg"), "\xFF\xD8\xFF\xE0");
    assert_file(scratch_path("out/deep/000000012.txt"), "cap");
    assert_file(scratch_path("out/deep/000000012-0003.png"), "\x89PNG\r\n");
    assert_file(scratch_path("out/deep/000000012-0003.json"),
                "{\"id\":12,\"caption\":\"cap\",\"candidate\":3,\"score\":0.5}");
    record_free(&r);
}

/* By path, whatever the order of the directory's entries; neither hidden folders nor links that lead round. */
static void test_folders(void **state)
{
    (void)state;
    static const char *const files[] = {"2.jpg", "2/a.jpg", "2/deep/er/a.jpg", "10/a.jpg", "10/a.txt", ".seen/a.jpg"};
    static const char *const keys[] = {"10/a.jpg", "2.jpg", "2/a.jpg", "2/deep/er/a.jpg"};
    struct record r = {0};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = xasprintf("%s/%s", scratch_path("folders"), files[i]);
        *strrchr(path, '/') = 0;
        assert_int_equal(file_make_dirs(path), 0);
        path[strlen(path)] = '/';
        scratch_write(path, files[i], strlen(files[i]));
        free(path);
    }
    assert_int_equal(symlink("..", scratch_path("folders/2/round")), 0);
    assert_int_equal(symlink("2.jpg", scratch_path("folders/3.jpg")), 0);
    assert_int_equal(mkfifo(scratch_path("folders/4.jpg"), 0600), 0);
    assert_int_equal(mkfifo(scratch_path("folders/2.txt"), 0600), 0);
    struct source *source = open_source("dir", scratch_path("folders"));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        assert_int_equal(source_next(source, &r), 1);
        assert_int_equal(r.id, i);
        assert_non_null(strstr(buf_string(&r.key), keys[i]));
        if (i == 1) {
            assert_non_null(strstr(buf_string(&r.reject), "is no file"));
        } else {
            assert_text(&r.image, keys[i]);
            assert_int_equal(r.caption.len, i == 0 ? strlen("10/a.txt") : 0);
        }
    }
    assert_int_equal(source_next(source, &r), 1);
    assert_text(&r.image, "2.jpg");
    assert_int_equal(source_next(source, &r), 0);
    source_close(&source);
    record_free(&r);
}

static void test_empty(void **state)
{
    (void)state;
    static const char *const schemes[] = {"text", "jsonl", "dir"};
    struct record r = {0};
    for (size_t i = 0; i < 3; i++) {
        const char *path = scratch_path(schemes[i]);
        finish(open_sink(schemes[i], path, false));
        struct source *source = open_source(schemes[i], path);
        assert_int_equal(source_next(source, &r), 0);
        source_close(&source);
    }
    record_free(&r);
}

/* A sink that is closed before its end leaves the file that stood there before. */
static void test_unfinished(void **state)
{
    (void)state;
    struct record r = {0};
    const char *path = scratch_path("unfinished.txt");
    scratch_write(path, "before", 6);
    struct sink *sink = open_sink("text", path, false);
    record_set_string(&r, FIELD_CAPTION, "new", 3);
    assert_int_equal(sink_put(sink, &r), 0);
    sink_close(&sink);
    assert_file(path, "before");
    assert_file(scratch_path("unfinished.txt.part"), "new\n");
    record_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_of_kinds), cmocka_unit_test(test_text),       cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_jsonl),          cmocka_unit_test(test_dir),        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_empty),          cmocka_unit_test(test_unfinished),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
