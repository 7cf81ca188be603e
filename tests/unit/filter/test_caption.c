/* Cleaning of captions, and counting of words. */
#include "common/utf8.h"
#include "filter/caption.h"
#include "filter/words.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void test_cleaning(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"", ""},
        {"a dog", "a dog"},
        {"  a \t\n dog  ", "a dog"},
        {"a\xC2\xA0"
         "dog",
         "a dog"},
        {"a\xE3\x80\x80"
         "dog",
         "a dog"},
        {"soft\xC2\xADly zero\xE2\x80\x8Bwidth", "softly zerowidth"},
        {"bell\x07rings\x7F", "bell rings"},
        {"Tom &amp; Jerry &lt;3 &#233;t&#xE9; &copy;", "Tom & Jerry <3 été ©"},
        {"R&D, AT&T; &nosuch; &#0; &#xD800; &#99999999; &", "R&D, AT&T; &nosuch; &#0; &#xD800; &#99999999; &"},
        {"<p>two <b>dogs</b><br/>run</p>", "two dogs run"},
        {"&lt;b&gt;bold&lt;/b&gt; move", "bold move"},
        {"1 < 2 and 3 > 2, I <3 you, a<b", "1 < 2 and 3 > 2, I <3 you, a<b"},
        {"<!-- note -->here <a href=\"x\">link</a>", "here link"},
        {"Sunset+at+the+sea", "Sunset at the sea"},
        {"Sunset+at+the+sea Taken+with+an+old+camera", "Sunset at the sea Taken with an old camera"},
        {"Sunset %28Lido%29+by+night taken+by+us", "Sunset (Lido) by night taken by us"},
        {"vitamins A+B+C are in all of it", "vitamins A+B+C are in all of it"},
        {"C+D", "C+D"},
        {"Sunset%20at%20the+sea%21", "Sunset at the sea!"},
        {"caf%C3%A9+in+Paris by the sea", "café in Paris by the sea"},
        {"100%de C++ 1+1=2 50% off", "100%de C++ 1+1=2 50% off"},
        {"%3Cb%3Edogs%3C%2Fb%3E%20%26amp%3B%20cats", "dogs & cats"},
        {"ﬁre №5 Ⅻ ｆｕｌｌ", "fire No5 XII full"},
        {"e\xCC\x81te\xCC\x81", "été"},
        {"bad \xFF byte \xC3", "bad \xEF\xBF\xBD byte \xEF\xBF\xBD"},
        {"👩‍🚒 stays 👩‍🚒", "👩‍🚒 stays 👩‍🚒"},
    };
    struct buf out = {0};
    for (size_t i = 0; i < COUNT(table); i++) {
        caption_clean(table[i][0], strlen(table[i][0]), &out);
        assert_string_equal(buf_string(&out), table[i][1]);
    }
    caption_clean("a\0b", 3, &out);
    assert_string_equal(buf_string(&out), "a b");
    buf_free(&out);
}

/* Any bytes give valid UTF-8 without white space at the ends or twice. */
static void test_any_bytes(void **state)
{
    (void)state;
    static const char pieces[] = "<&%+; ab>/!#x2C9;\xC3\xA9\xE2\x80\x8B\xF0\x9F\xFF\n";
    struct buf out = {0};
    uint32_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        char text[48];
        size_t len = (size_t)round % sizeof text;
        for (size_t i = 0; i < len; i++)
            text[i] = pieces[((seed = seed * 1664525 + 1013904223) >> 16) % (sizeof pieces - 1)];
        caption_clean(text, len, &out);
        assert_true(utf8_is_valid(out.data, out.len));
        for (size_t i = 0; i < out.len; i++)
            assert_true(out.data[i] > ' ' ||
                        (out.data[i] == ' ' && i > 0 && i + 1 < out.len && out.data[i - 1] != ' '));
    }
    buf_free(&out);
}

/* Unclosed tags and entities must not make a long caption slow. */
static void test_long_caption(void **state)
{
    (void)state;
    size_t len = 1 << 20;
    char *text = xmalloc(len);
    struct buf out = {0};
    static const char *const fills[] = {"<a ", "&amp", "%2", "a+b", "\xE3\x80\x80"};
    for (size_t k = 0; k < COUNT(fills); k++) {
        size_t n = strlen(fills[k]);
        for (size_t i = 0; i < len; i++)
            text[i] = fills[k][i % n];
        caption_clean(text, len, &out);
    }
    free(text);
    buf_free(&out);
}

static void test_entities(void **state)
{
    (void)state;
    assert_int_equal(entity_named("amp", 3), '&');
    assert_int_equal(entity_named("AMP", 3), 0);
    assert_int_equal(entity_named("am", 2), 0);
    assert_int_equal(entity_named("amps", 4), 0);
    assert_int_equal(entity_named("sup", 3), 0x2283);
    assert_int_equal(entity_named("sup2", 4), 0xB2);
    assert_int_equal(entity_named("AElig", 5), 0xC6);
    assert_int_equal(entity_named("zwnj", 4), 0x200C);
    assert_int_equal(entity_named("apos", 4), '\'');
}

static void test_words(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t words, letters;
        bool enough;
    } table[] = {
        {"", 0, 0, false},
        {"two dogs", 2, 0, false},
        {"two big dogs", 3, 0, true},
        {"two - & !! dogs", 2, 0, false},
        {"3 4 5", 3, 0, true},
        {"mother-in-law's day", 2, 0, false},
        {"три большие собаки", 3, 0, true},
        {"٣ كلاب كبيرة", 3, 0, true},
        {"큰 개 둘", 3, 0, true},
        {"東京塔", 1, 3, false},
        {"東京の塔", 1, 4, true},
        {"หมา", 1, 3, false},
        {"หมาสองตัว", 1, 8, true},
        {"🐕 🐕 🐕 🐕", 0, 0, false},
        {"a 東京塔", 2, 3, false},
    };
    for (size_t i = 0; i < COUNT(table); i++) {
        struct word_count n = {0};
        words_count(&n, table[i].text, strlen(table[i].text));
        assert_int_equal(n.words, table[i].words);
        assert_int_equal(n.letters, table[i].letters);
        assert_int_equal(words_enough(&n, 3), table[i].enough);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cleaning), cmocka_unit_test(test_any_bytes), cmocka_unit_test(test_long_caption),
        cmocka_unit_test(test_entities), cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
