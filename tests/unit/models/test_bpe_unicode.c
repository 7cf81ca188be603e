/*
 * Unicode for byte-pair encoding: sums over every code point as tokenizers 0.23 has them, so that another libutf8proc
 * cannot shift ids unseen; NFC and the reading of bad UTF-8 case by case.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "models/bpe_split.h"
#include "models/bpe_unicode.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t fnv(uint64_t h, uint64_t value)
{
    return (h ^ value) * 1099511628211u;
}

static void test_every_code_point(void **state)
{
    (void)state;
    uint64_t classes = 14695981039346656037u, lower = classes;
    size_t counts[4] = {0};
    for (uint32_t c = 0; c < 0x110000; c++) {
        if (c >= 0xD800 && c <= 0xDFFF)
            continue;
        enum bpe_class class = bpe_class(c);
        counts[class]++;
        classes = fnv(classes, class);
        lower = fnv(lower, bpe_lower(c));
    }
    assert_int_equal(counts[BPE_LETTER], 141028);
    assert_int_equal(counts[BPE_NUMBER], 1911);
    assert_int_equal(counts[BPE_SPACE], 25);
    assert_true(classes == 0x3e1eb78b22042d10u);
    assert_true(lower == 0xa861e6d60723bfc8u);
}

struct pair {
    const char *in, *out;
};

static void check_normalise(const struct pair *p, bool nfc, bool lower)
{
    struct buf out = {0};
    bpe_normalise(&out, (const unsigned char *)p->in, strlen(p->in), nfc, lower);
    assert_string_equal(buf_string(&out), p->out);
    buf_free(&out);
}

static void test_nfc(void **state)
{
    (void)state;
    static const struct pair cases[] = {
        {"plain", "plain"},
        {"e\u0301", "\u00e9"},
        {"\u1100\u1161\u11a8", "\uac01"},
        {"a\u0315\u0300\u05ae\u0300b", "\u00e0\u05ae\u0300\u0315b"},
        {"\u212b", "\u00c5"},
        {"\u0f71\u0f72\u0f74", "\u0f71\u0f72\u0f74"},
        {"\u0344", "\u0308\u0301"},
        {"\u0301a", "\u0301a"},
        {"q\u0345\u0334\u0323", "q\u0334\u0323\u0345"},
        {"\u0958", "\u0915\u093c"},
        {"\U00011935\U00011930", "\U00011935\U00011930"}, /* newer than the peer's table: left alone */
        {"a\u0898\u0327", "a\u0898\u0327"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_normalise(&cases[i], true, false);
}

static void test_lower(void **state)
{
    (void)state;
    static const struct pair cases[] = {
        {"A LONG Line of ASCII, WITH 0123456789 and @[`{ PAST ONE BLOCK",
         "a long line of ascii, with 0123456789 and @[`{ past one block"},
        {"\u00c9T\u00c9 \u0391\u03a3 \u0130I", "\u00e9t\u00e9 \u03b1\u03c3 i\u0307i"}, /* no final sigma */
        {"\u1e9e\u2126\u01c5", "\u00df\u03c9\u01c6"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_normalise(&cases[i], false, true);
}

/* As Python's bytes.decode("utf-8", "replace"). */
static void test_bad_utf8(void **state)
{
    (void)state;
    static const struct pair cases[] = {
        {"a\xFFz", "a\uFFFDz"},
        {"\x80\x80", "\uFFFD\uFFFD"},
        {"\xC0\x80", "\uFFFD\uFFFD"},
        {"\xC2", "\uFFFD"},
        {"\xC2 ", "\uFFFD "},
        {"\xE2\x82", "\uFFFD"},
        {"\xE2\x82\xE2\x82\xAC", "\uFFFD\u20ac"},
        {"\xE0\x80\x80", "\uFFFD\uFFFD\uFFFD"},
        {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
        {"\xF0\x9F\x98", "\uFFFD"},
        {"\xF0\x9F\x98\x80", "\U0001F600"},
        {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
        {"\xF5\x80", "\uFFFD\uFFFD"},
        {"\xF0\x80\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check_normalise(&cases[i], false, false);
        check_normalise(&cases[i], true, true);
    }
}

/* A megabyte of marks in the wrong order must not take quadratic time. */
static void test_many_marks(void **state)
{
    (void)state;
    struct buf in = {0}, out = {0};
    for (int i = 0; i < 250000; i++)
        buf_append(&in, i % 2 ? "\u0323" : "\u0301", 2); /* below, above */
    clock_t start = clock();
    bpe_nfc(&out, in.data, in.len);
    assert_true(clock() - start < 5 * CLOCKS_PER_SEC);
    assert_int_equal(out.len, in.len);
    assert_memory_equal(out.data, "\u0323\u0323\u0323", 6);
    buf_free(&in);
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code_point), cmocka_unit_test(test_nfc),        cmocka_unit_test(test_lower),
        cmocka_unit_test(test_bad_utf8),         cmocka_unit_test(test_many_marks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
