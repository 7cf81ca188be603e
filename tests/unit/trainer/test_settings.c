/*
 * The table of settings: every entry is consistent, presets parse and make sense together, and values that do not are
 * refused by name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/err.h"
#include "trainer/settings.h"
#include <stdio.h>
#include <string.h>

static const enum task_bit TASKS[] = {TASK_DVAE, TASK_PRIOR, TASK_CLIP};
static const char *const PRESETS[] = {"demo", "small", "paper"};

/* A preset with all that a run needs beside it. */
static struct settings complete(enum task_bit task, const char *preset)
{
    struct settings s;
    settings_init(&s);
    assert_int_equal(settings_preset(&s, task, preset), 0);
    assert_int_equal(settings_set(&s, task, "data", "lmdb:d"), 0);
    assert_int_equal(settings_set(&s, task, "run", "r"), 0);
    if (task != TASK_DVAE)
        assert_int_equal(settings_set(&s, task, "vocab", "v.json"), 0);
    if (task == TASK_PRIOR)
        assert_int_equal(settings_set(&s, task, "dvae", "d"), 0);
    return s;
}

static void the_table_is_consistent(void **state)
{
    (void)state;
    for (const struct setting *a = settings_table; a->name; a++) {
        assert_true(a->tasks && !(a->tasks & ~(unsigned)TASK_ALL));
        assert_true(a->help && *a->help && a->argument);
        assert_true(a->type == SETTING_TEXT || a->low < a->high);
        for (const struct setting *b = a + 1; b->name; b++)
            assert_true(strcmp(a->name, b->name) != 0 && a->offset != b->offset);
    }
}

static void presets_make_sense(void **state)
{
    (void)state;
    for (int task = 0; task < 3; task++)
        for (int preset = 0; preset < 3; preset++) {
            struct settings s = complete(TASKS[task], PRESETS[preset]);
            assert_int_equal(settings_check(&s, TASKS[task]), 0);
            assert_true(s.batch > 1 && s.steps > 1 && s.lr > 0);
            settings_free(&s);
        }
    struct settings s;
    settings_init(&s);
    assert_int_equal(settings_preset(&s, TASK_DVAE, "large"), -1);
    assert_non_null(strstr(err_text(), "demo, small or paper"));
    settings_free(&s);
}

/* MODELS.md, 2: what the paper says of its transformer. */
static void the_papers_numbers(void **state)
{
    (void)state;
    struct settings s = complete(TASK_PRIOR, "paper");
    assert_true(s.layers == 64 && s.heads == 62 && s.head_dim == 64 && s.text_len == 256 && s.kernel == 11);
    assert_true(s.batch == 1024 && s.steps == 430000 && s.lr == 4.5e-4 && s.warmup == 5000 && s.halvings == 5);
    assert_true(s.beta1 == 0.9 && s.beta2 == 0.96 && s.eps == 1e-8 && s.decay == 4.5e-2 && s.clip == 4);
    assert_true(s.average == 0.99 && s.average_every == 25 && s.dropout == 0.1);
    settings_free(&s);
}

static void values_out_of_range_are_refused(void **state)
{
    (void)state;
    static const struct {
        enum task_bit task;
        const char *name, *value;
    } BAD[] = {
        {TASK_DVAE, "batch", "0"},      {TASK_DVAE, "batch", "1.5"}, {TASK_DVAE, "batch", ""},
        {TASK_DVAE, "lr", "nan"},       {TASK_DVAE, "lr", "-1"},     {TASK_DVAE, "lr", "1e-3x"},
        {TASK_DVAE, "beta1", "1"},      {TASK_DVAE, "beta2", "1"},   {TASK_DVAE, "eps", "0"},
        {TASK_DVAE, "average", "1"},    {TASK_DVAE, "tau", "0"},     {TASK_DVAE, "steps", "99999999999999999999"},
        {TASK_DVAE, "vocab", "v.json"}, {TASK_CLIP, "codes", "512"}, {TASK_PRIOR, "side", "64"},
        {TASK_PRIOR, "nothing", "1"},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        struct settings s;
        settings_init(&s);
        assert_int_equal(settings_set(&s, BAD[i].task, BAD[i].name, BAD[i].value), -1);
        assert_non_null(strstr(err_text(), BAD[i].name));
        assert_int_equal(err_code(), ERR_USAGE);
        settings_free(&s);
    }
}

static void what_makes_no_sense_together_is_refused(void **state)
{
    (void)state;
    static const struct {
        enum task_bit task;
        const char *name, *value, *named;
    } BAD[] = {
        {TASK_DVAE, "side", "50", "--side 50"},           {TASK_DVAE, "groups", "6", "--groups 6"},
        {TASK_DVAE, "micro", "5", "--micro 5"},           {TASK_DVAE, "micro", "32", "--micro 32"},
        {TASK_DVAE, "kmeans", "3", "--kmeans 3"},         {TASK_DVAE, "kmeans", "1000000", "--memory"},
        {TASK_DVAE, "augment", "some", "--augment some"}, {TASK_PRIOR, "kernel", "4", "--kernel 4"},
        {TASK_CLIP, "patch", "7", "--patch 7"},           {TASK_CLIP, "heads", "5", "--heads 5"},
        {TASK_CLIP, "text-heads", "5", "--text-heads 5"}, {TASK_CLIP, "batch", "1", "--batch 1"},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        struct settings s = complete(BAD[i].task, "demo");
        assert_int_equal(settings_set(&s, BAD[i].task, BAD[i].name, BAD[i].value), 0);
        assert_int_equal(settings_check(&s, BAD[i].task), -1);
        assert_non_null(strstr(err_text(), BAD[i].named));
        settings_free(&s);
    }
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"data", "run", "vocab", "dvae"};
    for (int i = 0; i < 4; i++) {
        struct settings s;
        settings_init(&s);
        assert_int_equal(settings_preset(&s, TASK_PRIOR, "demo"), 0);
        for (int j = 0; j < 4; j++)
            if (j != i)
                assert_int_equal(settings_set(&s, TASK_PRIOR, NAMES[j], "x"), 0);
        assert_int_equal(settings_check(&s, TASK_PRIOR), -1);
        char option[16];
        snprintf(option, sizeof option, "--%s", NAMES[i]);
        assert_non_null(strstr(err_text(), option));
        settings_free(&s);
    }
}

static void json_holds_the_task_s_settings_alone(void **state)
{
    (void)state;
    struct settings s = complete(TASK_CLIP, "demo");
    struct buf json = {0};
    settings_to_json(&s, TASK_CLIP, &json);
    assert_non_null(strstr(buf_string(&json), "\"patch\": 8"));
    assert_non_null(strstr(buf_string(&json), "\"vocab\": \"v.json\""));
    assert_null(strstr(buf_string(&json), "\"kernel\""));
    buf_free(&json);
    settings_free(&s);
}

int main(void)
{
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(the_table_is_consistent),
        cmocka_unit_test(presets_make_sense),
        cmocka_unit_test(the_papers_numbers),
        cmocka_unit_test(values_out_of_range_are_refused),
        cmocka_unit_test(what_makes_no_sense_together_is_refused),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(json_holds_the_task_s_settings_alone),
    };
    return cmocka_run_group_tests(TESTS, NULL, NULL);
}
