/* The rules in order: which one names the reason, options, what a record carries on. */
#include "common/err.h"
#include "common/image.h"
#include "filter/filter.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

enum { NONE, GOOD, WIDE, BROKEN }; /* pictures */

static struct buf pictures[4];

static int draw(void **state)
{
    (void)state;
    for (int k = GOOD; k <= BROKEN; k++) {
        struct image im;
        image_alloc(&im, k == GOOD ? 30 : 90, 30);
        memset(im.rgb, 200, (size_t)im.width * 30 * 3);
        if (image_encode_jpeg(&im, 80, &pictures[k]) < 0)
            return -1;
        image_free(&im);
    }
    pictures[BROKEN].len -= 3; /* and wide */
    return 0;
}

static int free_pictures(void **state)
{
    (void)state;
    for (int k = 0; k <= BROKEN; k++)
        buf_free(&pictures[k]);
    return 0;
}

static void make(struct record *r, int picture, const char *caption)
{
    record_clear(r);
    record_set_u64(r, FIELD_ID, 7);
    if (picture != NONE)
        record_set_string(r, FIELD_IMAGE, pictures[picture].data, pictures[picture].len);
    if (caption)
        record_set_string(r, FIELD_CAPTION, caption, strlen(caption));
}

static void expect(struct filter *f, struct record *r, const char *reason)
{
    assert_int_equal(filter_record(f, r), 0);
    const char *got = record_has(r, FIELD_REJECT) ? buf_string(&r->reject) : "";
    assert_string_equal(got, reason);
    if (*reason)
        assert_false(record_has(r, FIELD_IMAGE));
}

static void test_order_of_reasons(void **state)
{
    (void)state;
    static const struct {
        int picture;
        const char *caption, *reason;
    } table[] = {
        {GOOD, "two dogs run on the beach", ""},
        {NONE, "two dogs run on the beach", ""},
        {GOOD, "Planted roof of Chicago City Hall, photographed on 8 July 2008", ""},
        {BROKEN, "ein Hund", "image: truncated scan"},
        {WIDE, "ein Hund", "aspect: 90x30"},
        {WIDE, "two dogs run on the beach", "aspect: 90x30"},
        {GOOD, "ein Hund", "short: 2 words"},
        {GOOD, "dog", "short: 1 word"},
        {GOOD, "東京塔", "short: 3 letters"},
        {GOOD, "", "short: 0 words"},
        {GOOD, NULL, "short: 0 words"},
        {GOOD, "&amp; &lt; &gt; dog", "short: 1 word"},
        {GOOD, "photographed on 8 July 2008", "boilerplate: photographed on <date> (made with, day month year)"},
        {GOOD, "fotografiert am 16. Mai 2014 in Berlin",
         "boilerplate: fotografiert am <date> (made in other languages, day month year)"},
        {GOOD, "16 May 2014 - 17 May 2014, IMG_0520.JPG", "boilerplate: <date> <file> (day month year, camera)"},
        {GOOD, "zwei Hunde laufen am Strand", "language: de"},
        {GOOD, "東京タワーの夜景", "language: ja"},
    };
    struct filter *f;
    struct record r = {0};
    assert_int_equal(filter_open(&f, &filter_defaults), 0);
    for (size_t i = 0; i < COUNT(table); i++) {
        make(&r, table[i].picture, table[i].caption);
        expect(f, &r, table[i].reason);
        assert_int_equal(r.id, 7);
    }
    make(&r, GOOD, "two dogs run on the beach");
    assert_int_equal(filter_record(f, &r), 0);
    assert_int_equal(r.width, 30);
    assert_int_equal(r.height, 30);
    assert_int_equal(r.image.len, pictures[GOOD].len);
    record_free(&r);
    filter_close(&f);
}

static void test_options(void **state)
{
    (void)state;
    struct filter *f;
    struct record r = {0};
    struct filter_options o = filter_defaults;
    o.require_image = true;
    o.min_words = 1;
    o.languages = "any";
    o.picture.aspect_high = 3;
    o.clean = true;
    assert_int_equal(filter_open(&f, &o), 0);
    make(&r, NONE, "zwei");
    expect(f, &r, "image: none");
    make(&r, WIDE, " zwei &amp; drei ");
    expect(f, &r, "");
    assert_string_equal(buf_string(&r.caption), "zwei & drei");
    make(&r, GOOD, "&amp;");
    expect(f, &r, "short: 0 words");
    make(&r, GOOD, "2014");
    expect(f, &r, "boilerplate: <date> (year)");
    filter_close(&f);
    o.min_words = 0;
    assert_int_equal(filter_open(&f, &o), 0);
    make(&r, GOOD, NULL);
    expect(f, &r, "");
    filter_close(&f);
    o.languages = "english";
    assert_int_equal(filter_open(&f, &o), -1);
    assert_int_equal(err_code(), ERR_USAGE);
    assert_non_null(strstr(err_text(), "'english'"));
    o.languages = "en";
    o.rules_files = (char *[]){(char[]){"no/such/file"}};
    o.rules_file_count = 1;
    assert_int_equal(filter_open(&f, &o), -1);
    assert_non_null(strstr(err_text(), "no/such/file"));
    record_free(&r);
}

static void test_explain(void **state)
{
    (void)state;
    struct filter *f;
    struct record r = {0};
    struct buf out = {0};
    assert_int_equal(filter_open(&f, &filter_defaults), 0);
    make(&r, NONE, "Roof, photographed on 8 July 2008");
    assert_int_equal(filter_explain(f, &r, &out), 0);
    const char *text = buf_string(&out);
    assert_non_null(strstr(text, "phrase: 'photographed on'"));
    assert_non_null(strstr(text, "date: '8 July 2008'"));
    assert_non_null(strstr(text, "6 words, 1 beside boilerplate"));
    assert_non_null(strstr(text, "rejected: boilerplate: photographed on <date>"));
    assert_string_equal(buf_string(&r.reject), "boilerplate: photographed on <date> (made with, day month year)");
    buf_free(&out);
    record_free(&r);
    filter_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_of_reasons),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_explain),
    };
    return cmocka_run_group_tests(tests, draw, free_pictures);
}
