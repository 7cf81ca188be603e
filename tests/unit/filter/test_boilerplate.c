/* Boilerplate rules: the table both ways, what matched, user's rules, errors that name their place. */
#include "boilerplate_table.h"
#include "common/err.h"
#include "filter/boilerplate.h"
#include "filter/caption.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static struct rules rules;
static struct boilerplate *boilerplate;

static int open_rules(void **state)
{
    (void)state;
    return rules_add_default(&rules) < 0 || boilerplate_open(&boilerplate, &rules) < 0;
}

static int close_rules(void **state)
{
    (void)state;
    boilerplate_close(&boilerplate);
    rules_free(&rules);
    return 0;
}

static struct word_count left_of(struct boilerplate *b, const char *caption)
{
    struct buf text = {0};
    struct word_count left;
    caption_clean(caption, strlen(caption), &text);
    boilerplate_take_out(b, buf_string(&text), text.len, SIZE_MAX, &left, NULL, NULL);
    buf_free(&text);
    return left;
}

static bool says_something(struct boilerplate *b, const char *caption)
{
    struct word_count left = left_of(b, caption);
    return words_enough(&left, 3);
}

static void test_table(void **state)
{
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < COUNT(dropped); i++) {
        size_t left = left_of(boilerplate, dropped[i].caption).words;
        if (left == dropped[i].left)
            continue;
        print_error("%zu words left, not %zu: '%s'\n", left, dropped[i].left, dropped[i].caption);
        wrong++;
    }
    for (size_t i = 0; i < COUNT(kept); i++) {
        if (says_something(boilerplate, kept[i]))
            continue;
        print_error("dropped: '%s'\n", kept[i]);
        wrong++;
    }
    assert_int_equal(wrong, 0);
    assert_true(COUNT(dropped) + COUNT(kept) >= 200);
}

/* The same boilerplate, behind words and before them, does not take a caption away that says something. */
static void test_beside_words(void **state)
{
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < 2 * COUNT(dropped); i++) {
        char caption[512];
        snprintf(caption, sizeof caption, i % 2 ? "dogs chasing balls, %s" : "%s: dogs chasing balls",
                 dropped[i / 2].caption);
        if (says_something(boilerplate, caption))
            continue;
        print_error("dropped: '%s'\n", caption);
        wrong++;
    }
    assert_int_equal(wrong, 0);
}

/* What was remembered of a word must not depend on what stood behind it: a table in which each comes both ways. */
static void test_memory_of_words(void **state)
{
    (void)state;
    struct boilerplate *fresh;
    for (size_t i = 0; i < COUNT(kept); i++) {
        struct word_count cold, warm;
        size_t len = strlen(kept[i]);
        assert_int_equal(boilerplate_open(&fresh, &rules), 0);
        boilerplate_take_out(fresh, kept[i], len, SIZE_MAX, &cold, NULL, NULL);
        boilerplate_take_out(boilerplate, kept[i], len, SIZE_MAX, &warm, NULL, NULL);
        assert_int_equal(cold.words, warm.words);
        assert_int_equal(cold.letters, warm.letters);
        boilerplate_close(&fresh);
    }
}

struct seen {
    const char *text;
    char log[400];
};

static void log_match(void *arg, const struct boilerplate_match *m)
{
    struct seen *s = arg;
    size_t n = strlen(s->log);
    snprintf(s->log + n, sizeof s->log - n, "%s:%.*s|", m->rule->class, (int)(m->end - m->start), s->text + m->start);
}

static void test_matches(void **state)
{
    (void)state;
    struct seen s = {.text = "Roof, photographed on Friday, 8 July 2008 (IMG_0520.JPG)"};
    struct word_count left;
    boilerplate_take_out(boilerplate, s.text, strlen(s.text), SIZE_MAX, &left, log_match, &s);
    assert_string_equal(s.log, "phrase:photographed on|date:Friday,|date:8 July 2008|file:IMG_0520.JPG|");
    assert_int_equal(left.words, 1);
}

static void test_users_rules(void **state)
{
    (void)state;
    static const char text[] =
        "[define]\nmonth = brumaire\nship = ferry|\n  barge\n[drop phrase]\nwaves = waves to\\s+{ship}\n";
    struct rules r = {0};
    struct boilerplate *b;
    assert_int_equal(rules_add_default(&r), 0);
    assert_int_equal(rules_add_text(&r, "mine", text, sizeof text - 1), 0);
    assert_int_equal(boilerplate_open(&b, &r), 0);
    assert_false(says_something(b, "waves to barge now"));
    assert_false(says_something(b, "le 18 brumaire 1799"));
    assert_true(says_something(boilerplate, "waves to barge now"));
    boilerplate_close(&b);
    rules_free(&r);
}

static void test_faults_are_named(void **state)
{
    (void)state;
    static const char *const faults[][2] = {
        {"[drop x]\na = (b\n", "mine:2: 'a'"},
        {"[drop x]\n\na = b)|(c\n", "mine:3: 'a'"},
        {"[drop x]\na = {nothing}\n", "{nothing}"},
        {"[define]\nbad name = b\n", "mine:2"},
        {"[drop x]\na\n", "mine:2"},
        {"a = b\n", "mine:1"},
        {"[drop]\n", "mine:1"},
        {"[word en]\n", "unknown section"},
        {"[drop x]\n  indented\n", "mine:2"},
    };
    for (size_t i = 0; i < COUNT(faults); i++) {
        struct rules r = {0};
        struct boilerplate *b = NULL;
        int failed = rules_add_text(&r, "mine", faults[i][0], strlen(faults[i][0])) < 0 || boilerplate_open(&b, &r) < 0;
        if (!failed || !strstr(err_text(), faults[i][1]))
            fail_msg("'%s': %s", faults[i][0], failed ? err_text() : "no error");
        assert_null(b);
        rules_free(&r);
    }
}

static void test_no_rules(void **state)
{
    (void)state;
    struct rules r = {0};
    struct boilerplate *b;
    assert_int_equal(boilerplate_open(&b, &r), 0);
    assert_true(says_something(b, "photographed on 8 July 2008"));
    boilerplate_close(&b);
}

/* A pattern that backtracks for ever is given up, not waited for. */
static void test_catastrophe_ends(void **state)
{
    (void)state;
    static const char text[] = "[drop x]\na = (?:a+)+b\n";
    char caption[64];
    struct rules r = {0};
    struct boilerplate *b;
    memset(caption, 'a', sizeof caption);
    caption[sizeof caption - 2] = ' ';
    caption[sizeof caption - 1] = 'b';
    assert_int_equal(rules_add_text(&r, "mine", text, sizeof text - 1), 0);
    assert_int_equal(boilerplate_open(&b, &r), 0);
    struct word_count left;
    boilerplate_take_out(b, caption, sizeof caption, 3, &left, NULL, NULL);
    assert_int_equal(left.words, 2);
    boilerplate_close(&b);
    rules_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),           cmocka_unit_test(test_beside_words),
        cmocka_unit_test(test_memory_of_words), cmocka_unit_test(test_matches),
        cmocka_unit_test(test_users_rules),     cmocka_unit_test(test_faults_are_named),
        cmocka_unit_test(test_no_rules),        cmocka_unit_test(test_catastrophe_ends),
    };
    return cmocka_run_group_tests(tests, open_rules, close_rules);
}
