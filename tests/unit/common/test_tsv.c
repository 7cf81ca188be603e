/*
 * The kind tsv: which columns become what, lines that are no records, pictures beside the table, and how wrong columns
 * are refused.
 */
#include "scratch.h"

#include "common/endpoint.h"
#include "common/err.h"

#define GOOD_COLUMNS "caption=title,description&image=path"

static int open_table(struct source **source, const char *path, const char *columns, uint64_t from)
{
    const struct source_options options = {.from = from};
    char *uri = xasprintf("tsv:%s%s", path, columns);
    int result = source_open(source, uri, &options);
    free(uri);
    return result;
}

static const char *write_table(const char *name, const char *text)
{
    const char *path = scratch_path(name);
    scratch_write(path, text, strlen(text));
    return path;
}

static struct source *opened(const char *text, const char *columns)
{
    struct source *source;
    if (open_table(&source, write_table("table.tsv", text), columns, 0) < 0)
        fail_msg("%s", err_text());
    return source;
}

static void refused(const char *path, const char *columns, const char *why)
{
    struct source *source;
    assert_int_equal(open_table(&source, path, columns, 0), -1);
    if (!strstr(err_text(), why))
        fail_msg("no '%s' in '%s'", why, err_text());
}

/* The next record's caption, or a part of why it is none. */
static void expect(struct source *source, struct record *r, const char *text)
{
    assert_int_equal(source_next(source, r), 1);
    const char *got = buf_string(record_has(r, FIELD_REJECT) ? &r->reject : &r->caption);
    if (record_has(r, FIELD_REJECT) ? !strstr(got, text) || !*text : strcmp(got, text) != 0)
        fail_msg("'%s', not '%s'", got, text);
}

static void expect_end(struct source *source, struct record *r)
{
    assert_int_equal(source_next(source, r), 0);
    source_close(&source);
    record_free(r);
}

static void test_names(void **state)
{
    (void)state;
    struct record r = {0};
    struct source *source = opened("\xEF\xBB\xBFtitle\tid\tdescription\r\n"
                                   "Sunset\tp7\tover the sea\r\n"
                                   "Dogs\t\t\n"
                                   "\tp9\tonly here\tmore\tthan named\n"
                                   "\t\t\n"
                                   "\n"
                                   "cut\tp11\n"
                                   "\"quoted\"\tp12\ta\\tb",
                                   "#caption=title,description&key=id");
    assert_true(source_is_foreign(source));
    expect(source, &r, "Sunset over the sea");
    assert_int_equal(r.id, 0);
    assert_string_equal(buf_string(&r.key), "p7");
    assert_false(record_has(&r, FIELD_IMAGE));
    expect(source, &r, "Dogs");
    assert_non_null(strstr(buf_string(&r.key), "table.tsv:3"));
    expect(source, &r, "only here");
    expect(source, &r, "");
    assert_true(record_has(&r, FIELD_CAPTION));
    expect(source, &r, "tsv: 1 column, where 'description' is column 3");
    expect(source, &r, "tsv: 2 columns, where 'description' is column 3");
    assert_int_equal(r.id, 5);
    assert_non_null(strstr(buf_string(&r.key), "table.tsv:7"));
    expect(source, &r, "\"quoted\" a\\tb");
    expect_end(source, &r);
}

static void test_numbers(void **state)
{
    (void)state;
    struct record r = {0};
    struct source *source = opened("a\tb\tc\nd\te\n", "#caption=3,1");
    expect(source, &r, "c a");
    assert_int_equal(r.id, 0);
    expect(source, &r, "tsv: 2 columns, where '3' is column 3");
    expect_end(source, &r);

    source = opened("x\tname\ny\tz\n", "#caption=1,name"); /* a name, so a header */
    expect(source, &r, "y z");
    expect_end(source, &r);

    source = opened("one\n\ntwo", "#caption=1");
    expect(source, &r, "one");
    expect(source, &r, "");
    expect(source, &r, "two");
    expect_end(source, &r);

    assert_int_equal(open_table(&source, scratch_path("table.tsv"), "#caption=1", 2), 0);
    expect(source, &r, "two");
    assert_int_equal(r.id, 2);
    expect_end(source, &r);
}

static void test_pictures(void **state)
{
    (void)state;
    struct record r = {0};
    assert_int_equal(file_make_dirs(scratch_path("pictures/old")), 0);
    assert_int_equal(mkfifo(scratch_path("pictures/pipe.jpg"), 0600), 0);
    scratch_write(scratch_path("pictures/a b.jpg"), "jpeg", 4);
    int big = open(scratch_path("pictures/big.jpg"), O_WRONLY | O_CREAT, 0600);
    assert_int_equal(ftruncate(big, (off_t)record_fields[FIELD_IMAGE].limit + 1), 0);
    close(big);
    char *lines = xasprintf("title\tdescription\tpath\n"
                            "a\tb\tpictures/a b.jpg\n"
                            "a\tb\t%s\n"
                            "a\tb\tpictures/none.jpg\n"
                            "a\tb\tpictures/old\n"
                            "a\tb\tpictures/pipe.jpg\n"
                            "a\tb\tpictures/big.jpg\n"
                            "a\tb\t\n"
                            "a\tb\n",
                            scratch_path("pictures/a b.jpg"));
    struct source *source = opened(lines, "#" GOOD_COLUMNS);
    for (int i = 0; i < 2; i++) {
        expect(source, &r, "a b");
        assert_string_equal(buf_string(&r.image), "jpeg");
    }
    expect(source, &r, "pictures/none.jpg: No such file");
    assert_string_equal(buf_string(&r.caption), "a b");
    expect(source, &r, "pictures/old: not a regular file");
    expect(source, &r, "pictures/pipe.jpg: not a regular file");
    expect(source, &r, "limit 268435456");
    expect(source, &r, "image: no file is named");
    expect(source, &r, "tsv: 2 columns, where 'path' is column 3");
    expect_end(source, &r);
    free(lines);

    const char *path = scratch_path("zero.tsv");
    scratch_write(path, "a\tpictures/a b.jpg\0x\n", 21);
    assert_int_equal(open_table(&source, path, "#caption=1&image=2", 0), 0);
    expect(source, &r, "a zero byte");
    expect_end(source, &r);
}

static void test_stdin(void **state)
{
    (void)state;
    struct record r = {0};
    struct source *source;
    int before = lend(0, memory_file("t\nfrom a pipe\n", 14));
    assert_int_equal(open_table(&source, "-", "#caption=t", 0), 0);
    expect(source, &r, "from a pipe");
    assert_string_equal(buf_string(&r.key), "stdin:2");
    expect_end(source, &r);
    unlend(0, before);
}

static void test_huge_lines(void **state)
{
    (void)state;
    struct record r = {0};
    struct source *source;
    struct buf text = {0};
    const char *path = scratch_path("huge.tsv");
    const size_t lengths[] = {20u << 20, 2u << 20}; /* over a line's limit, over a caption's */
    for (int i = 0; i < 2; i++) {
        buf_append(&text, "x\t", 2);
        buf_reserve(&text, lengths[i]);
        memset(text.data + text.len, 'a', lengths[i]);
        text.len += lengths[i];
        buf_append(&text, "\n", 1);
    }
    buf_reserve(&text, 5u << 20);
    memset(text.data + text.len, '\t', 5u << 20); /* columns, five million of them */
    text.len += 5u << 20;
    buf_append(&text, "\nshort\tone", 10);
    scratch_write(path, text.data, text.len);
    assert_int_equal(open_table(&source, path, "#caption=2", 0), 0);
    expect(source, &r, "tsv: a line of 20971522 bytes, limit 16777216");
    expect(source, &r, "caption: 2097152 bytes, limit 1048576");
    assert_in_range(r.caption.len, 1, 1024);
    expect(source, &r, "");
    expect(source, &r, "one");
    expect_end(source, &r);
    refused(path, "#caption=name", "a header of 20971522 bytes, limit 16777216");
    buf_free(&text);
}

static void test_refused(void **state)
{
    (void)state;
    const char *path = write_table("table.tsv", "title\ttwice\tdescription\ttwice\na\tb\tc\td\n");
    refused(path, "", "the columns are missing: tsv:FILE#caption=");
    refused("", "#caption=1", "the columns are missing");
    refused(path, "#", "'': not caption=COLUMN");
    refused(path, "#caption", "'caption': not caption=COLUMN");
    refused(path, "#score=1", "'score=1': not caption=COLUMN");
    refused(path, "#caption=", "caption= names no column");
    refused(path, "#caption=title,,description", "caption= names no column");
    refused(path, "#caption=1&caption=2", "caption= is there twice");
    refused(path, "#image=1,2", "image= names too many columns");
    refused(path, "#" GOOD_COLUMNS, "the header has no column 'path': title,twice,description,twice");
    refused(path, "#caption=twice", "the header has more than one column 'twice'");
    refused(path, "#caption=0", "no column '0'");
    refused(path, "#caption=-1", "no column '-1'");
    refused("/none/such.tsv", "#caption=1", "/none/such.tsv");
    refused(write_table("empty.tsv", ""), "#caption=a", "empty.tsv: is empty");
    struct source *source = opened("", "#caption=1");
    struct record r = {0};
    expect_end(source, &r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names), cmocka_unit_test(test_numbers),    cmocka_unit_test(test_pictures),
        cmocka_unit_test(test_stdin), cmocka_unit_test(test_huge_lines), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
