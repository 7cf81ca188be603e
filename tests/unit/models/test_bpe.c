/*
 * Byte-pair encoding: the split, the merges against a plain implementation, dropout, decoding, and the golden strings.
 */
#include "bpe_corpus.h"
#include "models/bpe_private.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define GOLDEN "../shared/golden/text/"

static void test_words(void **state)
{
    (void)state;
    static const struct {
        enum bpe_pattern pattern;
        const char *text, *words; /* joined by | */
    } cases[] = {
        {BPE_GPT2, "", ""},
        {BPE_GPT2, "it's they'll we'd 'tis ''s 's", "it|'s| they|'ll| we|'d| '|tis| ''|s| '|s"},
        {BPE_GPT2, "'re'v'r'", "'re|'|v|'|r|'"},
        {BPE_GPT2, "a  b   ", "a| | b|   "},
        {BPE_GPT2, "a\t\tb\n", "a|\t|\t|b|\n"},
        {BPE_GPT2, " \u3000x\u00a0", " |\u3000|x|\u00a0"},
        {BPE_GPT2, "x12\u00bd\u0664, 3.5!?", "x|12\u00bd\u0664|,| 3|.|5|!?"},
        {BPE_GPT2, "\u00fcber\u732b \u00e9t\u00e9", "\u00fcber\u732b| \u00e9t\u00e9"},
        {BPE_GPT2, "e\u0301a", "e|\u0301|a"},
        {BPE_GPT4, "it's IT'LL d'\u017f 'x", "it|'s| IT|'LL| d|'\u017f| '|x"},
        {BPE_GPT4, "1234567 a12", "123|456|7| a|12"},
        {BPE_GPT4, "(red) $x\tb\n\n c", "(red|)| $|x|\tb|\n\n| c"},
        {BPE_GPT4, "a  \n \n  b  ", "a|  \n \n| | b|  "},
        {BPE_GPT4, "wow!!\n\r\tx \u3000y", "wow|!!\n\r|\tx| |\u3000y"},
        {BPE_QWEN2, "12 \u00bd", "1|2| |\u00bd"},
        {BPE_CLIP, "  it's 123 a!?b  ", "it|'s|1|2|3|a|!?|b"},
        {BPE_CLIP, " \u3000 ", ""},
        {BPE_WHOLE, "all of it", "all of it"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf text = {0}, words = {0};
        bpe_normalise(&text, (const unsigned char *)cases[i].text, strlen(cases[i].text), false, false);
        const unsigned char *p = text.data, *end = p + text.len, *word;
        size_t len;
        while ((word = bpe_next_word(cases[i].pattern, &p, end, &len)) != NULL)
            buf_printf(&words, "%s%.*s", words.len ? "|" : "", (int)len, (const char *)word);
        assert_string_equal(buf_string(&words), cases[i].words);
        buf_free(&text);
        buf_free(&words);
    }
}

/* The merges as the definition says them. With p > 0 every candidate is drawn for at every step. */
static size_t plain_merges(const struct bpe *b, int32_t *ids, size_t n, double p, unsigned *seed)
{
    for (;;) {
        size_t best = n;
        uint32_t rank = BPE_NO_RANK;
        for (size_t i = 0; i + 1 < n; i++) {
            uint32_t r = bpe_rule_slot(b, ids[i], ids[i + 1])->rank;
            bool left_out = p > 0 && rand_r(seed) / (RAND_MAX + 1.0) < p;
            if (r < rank && !left_out) {
                rank = r;
                best = i;
            }
        }
        if (best == n)
            return n;
        ids[best] = bpe_rule_slot(b, ids[best], ids[best + 1])->id;
        n--;
        memmove(ids + best + 1, ids + best + 2, (n - best - 1) * sizeof(*ids));
    }
}

static void random_word(unsigned char *word, size_t len, unsigned *seed)
{
    for (size_t i = 0; i < len; i++)
        word[i] = (unsigned char)"anbdc e"[rand_r(seed) % 7];
}

/* Short words, the longest short one, the shortest long one and longer ones. */
static void test_merges_are_plain(void **state)
{
    (void)state;
    struct bpe *b = train_corpus(400);
    struct bpe_scratch scratch = {0};
    unsigned seed = 7;
    for (int trial = 0; trial < 3000; trial++) {
        unsigned char word[200];
        int32_t ids[200], plain[200];
        size_t len = trial % 3 == 0 ? 44 + (size_t)rand_r(&seed) % 8 : 1 + (size_t)rand_r(&seed) % 200;
        random_word(word, len, &seed);
        for (size_t i = 0; i < len; i++)
            plain[i] = b->first[word[i]];
        size_t n = bpe_merge_word(b, &scratch, word, len, NULL, ids);
        assert_int_equal(n, plain_merges(b, plain, len, 0, NULL));
        assert_memory_equal(ids, plain, n * sizeof(*ids));
    }
    bpe_scratch_free(&scratch);
    bpe_free(&b);
}

/* The mean number of pieces of a word, by us and by the plain implementation, must agree within 4.5 deviations of its
 * error. */
static void check_dropout(const struct bpe *b, const char *word, float p)
{
    enum { DRAWS = 4000 };
    struct bpe_scratch scratch = {0};
    double sum[2] = {0}, square[2] = {0};
    unsigned seed = 99;
    size_t len = strlen(word);
    int32_t ids[256];
    for (int i = 0; i < DRAWS; i++) {
        struct bpe_dropout dropout = {.p = p, .key = 5, .hi = (uint64_t)i};
        double n = (double)bpe_merge_word(b, &scratch, (const unsigned char *)word, len, &dropout, ids);
        sum[0] += n;
        square[0] += n * n;
        for (size_t k = 0; k < len; k++)
            ids[k] = b->first[(unsigned char)word[k]];
        n = (double)plain_merges(b, ids, len, p, &seed);
        sum[1] += n;
        square[1] += n * n;
    }
    double error = 0;
    for (int k = 0; k < 2; k++)
        error += (square[k] / DRAWS - sum[k] / DRAWS * (sum[k] / DRAWS)) / DRAWS;
    assert_true(fabs(sum[0] - sum[1]) / DRAWS < 4.5 * sqrt(error) + 1e-9);
    bpe_scratch_free(&scratch);
}

static void test_dropout_statistics(void **state)
{
    (void)state;
    struct bpe *b = train_corpus(400);
    char repeated[85];
    for (size_t i = 0; i < 84; i++)
        repeated[i] = "bananas"[i % 7];
    repeated[84] = '\0';
    for (int i = 1; i < 10; i += 4) {
        check_dropout(b, "bananas", (float)i / 10);
        check_dropout(b, " standing", (float)i / 10);
        check_dropout(b, repeated, (float)i / 10); /* the heap */
    }
    bpe_free(&b);
}

static void encode(struct bpe_worker *w, const char *text, struct ints *ids)
{
    ids->len = 0;
    bpe_encode(w, text, strlen(text), ids);
}

static void test_dropout_is_a_function_of_its_key(void **state)
{
    (void)state;
    struct bpe *b = train_corpus(400);
    struct bpe_worker *w = bpe_worker_new(b), *other = bpe_worker_new(b);
    struct ints ids = {0}, again = {0}, plain = {0};
    const char *text = corpus[0];
    size_t len = strlen(text);
    int differ = 0;
    encode(w, text, &plain);
    for (uint64_t hi = 0; hi < 50; hi++) {
        ids.len = again.len = 0;
        bpe_encode_dropout(w, text, len, 0.3f, 11, hi, &ids);
        bpe_encode(other, corpus[hi % CORPUS], strlen(corpus[hi % CORPUS]), &again); /* must not matter */
        again.len = 0;
        bpe_encode_dropout(other, text, len, 0.3f, 11, hi, &again);
        assert_int_equal(ids.len, again.len);
        assert_memory_equal(ids.data, again.data, ids.len * sizeof(*ids.data));
        differ += ids.len != plain.len;
    }
    assert_true(differ > 40);
    ids.len = 0;
    bpe_encode_dropout(w, text, len, 0, 11, 0, &ids);
    assert_int_equal(ids.len, plain.len);
    assert_memory_equal(ids.data, plain.data, ids.len * sizeof(*ids.data));
    ids.len = 0;
    bpe_encode_dropout(w, text, len, 1, 11, 0, &ids);
    assert_int_equal(ids.len, len);
    free(ids.data);
    free(again.data);
    free(plain.data);
    bpe_worker_free(&w);
    bpe_worker_free(&other);
    bpe_free(&b);
}

/* More words than the cache holds, twice: what is in it must not matter. */
static void test_cache(void **state)
{
    (void)state;
    struct bpe *b = train_corpus(400);
    struct bpe_worker *w = bpe_worker_new(b);
    struct ints ids = {0};
    for (unsigned i = 0; i < 150000; i++) {
        char word[64];
        int32_t plain[64];
        unsigned seed = i % 75000;
        size_t len = 1 + (size_t)rand_r(&seed) % 40;
        for (size_t k = 0; k < len; k++)
            word[k] = "anbdce"[rand_r(&seed) % 6];
        word[len] = '\0';
        for (size_t k = 0; k < len; k++)
            plain[k] = b->first[(unsigned char)word[k]];
        encode(w, word, &ids);
        assert_int_equal(ids.len, plain_merges(b, plain, len, 0, NULL));
        assert_memory_equal(ids.data, plain, ids.len * sizeof(*plain));
    }
    for (size_t zeros = 1; zeros < 40; zeros++) { /* words that differ in their lengths alone */
        ids.len = 0;
        bpe_encode(w, (const char[40]){0}, zeros, &ids);
        assert_int_equal(ids.len, zeros);
    }
    free(ids.data);
    bpe_worker_free(&w);
    bpe_free(&b);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct bpe *b = train_corpus(500);
    struct bpe_worker *w = bpe_worker_new(b);
    struct ints ids = {0};
    for (int i = 0; i < CORPUS; i++) {
        struct buf lower = {0}, text = {0};
        encode(w, corpus[i], &ids);
        bpe_normalise(&lower, (const unsigned char *)corpus[i], strlen(corpus[i]), false, true);
        bpe_decode(b, ids.data, ids.len, &text);
        assert_string_equal(buf_string(&text), buf_string(&lower));
        buf_free(&lower);
        buf_free(&text);
    }
    struct buf text = {0};
    const int32_t odd[] = {64, -1, 100000, 65, ids.data[0]};
    bpe_decode(b, odd, 4, &text);
    assert_string_equal(buf_string(&text), "a\uFFFD\uFFFDb");
    encode(w, "\U0001F600", &ids); /* cut inside the character */
    text.len = 0;
    bpe_decode(b, ids.data, 1, &text);
    assert_string_equal(buf_string(&text), ids.len == 1 ? "\U0001F600" : "\uFFFD");
    encode(w, "", &ids);
    assert_int_equal(ids.len, 0);
    buf_free(&text);
    free(ids.data);
    bpe_worker_free(&w);
    bpe_free(&b);
}

/* A word of a megabyte is no hang. */
static void test_long_word(void **state)
{
    (void)state;
    enum { LEN = 1 << 20 };
    struct bpe *b = train_corpus(400);
    struct bpe_worker *w = bpe_worker_new(b);
    struct ints ids = {0};
    struct buf text = {0};
    char *word = xmalloc(LEN);
    for (size_t i = 0; i < LEN; i++)
        word[i] = "banana"[i % 6];
    clock_t start = clock();
    bpe_encode(w, word, LEN, &ids);
    bpe_decode(b, ids.data, ids.len, &text);
    assert_int_equal(text.len, LEN);
    assert_memory_equal(text.data, word, LEN);
    ids.len = 0;
    bpe_encode_dropout(w, word, LEN, 0.9f, 1, 1, &ids);
    assert_true(clock() - start < 20 * CLOCKS_PER_SEC);
    free(word);
    free(ids.data);
    buf_free(&text);
    bpe_worker_free(&w);
    bpe_free(&b);
}

static void check_golden(const char *path, const char *key)
{
    struct bpe *b;
    char line[1 << 17];
    size_t count = 0;
    assert_int_equal(bpe_open(&b, path), 0);
    struct bpe_worker *w = bpe_worker_new(b);
    struct ints ids = {0};
    FILE *f = fopen(GOLDEN "bpe_expected.jsonl", "r");
    assert_non_null(f);
    for (; fgets(line, sizeof(line), f); count++) {
        json_t *row = json_loads(line, JSON_ALLOW_NUL, NULL), *text = json_object_get(row, "text");
        const json_t *expected = json_object_get(row, key);
        ids.len = 0;
        bpe_encode(w, json_string_value(text), json_string_length(text), &ids);
        assert_int_equal(ids.len, json_array_size(expected));
        for (size_t i = 0; i < ids.len; i++)
            assert_int_equal(ids.data[i], json_integer_value(json_array_get(expected, i)));
        json_decref(row);
    }
    assert_true(count > 1000);
    fclose(f);
    free(ids.data);
    bpe_worker_free(&w);
    bpe_free(&b);
}

static void test_golden(void **state)
{
    (void)state;
    if (access(GOLDEN, R_OK))
        skip();
    check_golden(GOLDEN "bpe_512.tokenizer.json", "bpe_512");
    check_golden(GOLDEN "bpe_2048.tokenizer.json", "bpe_2048");
    check_golden(GOLDEN "bpe_simple_vocab_16e6.txt.gz", "clip");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_merges_are_plain),
        cmocka_unit_test(test_dropout_statistics),
        cmocka_unit_test(test_dropout_is_a_function_of_its_key),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_long_word),
        cmocka_unit_test(test_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
