/*
 * Training of byte-pair vocabularies: against a plain implementation, and the golden vocabularies byte by byte.
 */
#include "bpe_corpus.h"
#include "models/bpe_private.h"
#include <stdio.h>
#include <unistd.h>

#define GOLDEN "../shared/golden/text/"

enum { MAX_WORDS = 512, MAX_SYMBOLS = 64 };
struct plain {
    int32_t symbols[MAX_WORDS][MAX_SYMBOLS];
    size_t len[MAX_WORDS], words;
};

/* All words of the corpus, one for each time they occur. */
static void plain_words(struct plain *p, const struct bpe *b)
{
    p->words = 0;
    for (int i = 0; i < CORPUS; i++) {
        struct buf text = {0};
        bpe_normalise(&text, (const unsigned char *)corpus[i], strlen(corpus[i]), false, true);
        const unsigned char *at = text.data, *end = at + text.len, *word;
        size_t len;
        while ((word = bpe_next_word(BPE_GPT2, &at, end, &len)) != NULL) {
            assert_true(p->words < MAX_WORDS && len < MAX_SYMBOLS);
            for (size_t k = 0; k < len; k++)
                p->symbols[p->words][k] = b->first[word[k]];
            p->len[p->words++] = len;
        }
        buf_free(&text);
    }
}

/* The most frequent pair, the smallest of equals; its count. */
static int plain_best(const struct plain *p, int32_t ids, int32_t *left, int32_t *right)
{
    int *counts = xcalloc((size_t)ids * (size_t)ids, sizeof(*counts)), best = 0;
    for (size_t w = 0; w < p->words; w++)
        for (size_t k = 0; k + 1 < p->len[w]; k++)
            counts[p->symbols[w][k] * ids + p->symbols[w][k + 1]]++;
    for (int32_t i = 0; i < ids * ids; i++)
        if (counts[i] > best) {
            best = counts[i];
            *left = i / ids;
            *right = i % ids;
        }
    free(counts);
    return best;
}

static void plain_merge(struct plain *p, int32_t left, int32_t right, int32_t id)
{
    for (size_t w = 0; w < p->words; w++) {
        size_t out = 0;
        for (size_t k = 0; k < p->len[w]; k++) {
            bool pair = k + 1 < p->len[w] && p->symbols[w][k] == left && p->symbols[w][k + 1] == right;
            p->symbols[w][out++] = pair ? id : p->symbols[w][k];
            k += pair;
        }
        p->len[w] = out;
    }
}

static void test_merges_are_plain(void **state)
{
    (void)state;
    enum { VOCAB = 420 };
    struct bpe *b = train_corpus(VOCAB);
    static struct plain p;
    plain_words(&p, b);
    assert_int_equal(bpe_vocab(b), VOCAB);
    assert_int_equal(b->merge_count, VOCAB - 256);
    for (int32_t i = 0; i < VOCAB - 256; i++) {
        int32_t left = -1, right = -1;
        assert_true(plain_best(&p, VOCAB, &left, &right) > 0);
        assert_int_equal(b->merges[i].left, left);
        assert_int_equal(b->merges[i].right, right);
        assert_int_equal(b->merges[i].id, 256 + i);
        plain_merge(&p, left, right, 256 + i);
    }
    bpe_free(&b);
}

static int last_done, last_all;
static void watch(int done, int all)
{
    assert_true(done > last_done);
    last_done = done;
    last_all = all;
}

static void test_text_may_run_out(void **state)
{
    (void)state;
    struct bpe_trainer *t = bpe_trainer_new();
    struct bpe *b;
    assert_int_equal(bpe_trainer_train(t, 300, NULL, &b), 0); /* no text at all */
    assert_int_equal(bpe_vocab(b), 256);
    bpe_free(&b);
    bpe_trainer_add(t, "abcd \xFF", 6);
    bpe_trainer_add(t, "ABCD", 4);
    assert_int_equal(bpe_trainer_train(t, 300, watch, &b), 0);
    /* ab, abc or cd .., abcd; the three bytes of U+FFFD and the space: another three */
    assert_int_equal(bpe_vocab(b), 262);
    assert_int_equal(last_done, 262);
    assert_int_equal(last_all, 300);
    bpe_free(&b);
    assert_int_equal(bpe_trainer_train(t, 255, NULL, &b), -1);
    assert_null(b);
    bpe_trainer_free(&t);
    assert_null(t);
}

static void check_golden(int vocab, const char *expected)
{
    struct bpe_trainer *t = bpe_trainer_new();
    struct bpe *b;
    struct buf text = {0}, ours = {0}, theirs = {0};
    char path[] = "/tmp/atelier-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(file_read(GOLDEN "bpe_corpus.txt", 1 << 24, &text), 0);
    for (const char *line = buf_string(&text), *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
        bpe_trainer_add(t, line, (size_t)(end - line));
    assert_int_equal(bpe_trainer_train(t, vocab, NULL, &b), 0);
    assert_int_equal(bpe_save(b, path), 0);
    assert_int_equal(file_read(path, 1 << 24, &ours), 0);
    assert_int_equal(file_read(expected, 1 << 24, &theirs), 0);
    assert_string_equal(buf_string(&ours), buf_string(&theirs));
    unlink(path);
    buf_free(&text);
    buf_free(&ours);
    buf_free(&theirs);
    bpe_free(&b);
    bpe_trainer_free(&t);
}

static void test_golden(void **state)
{
    (void)state;
    if (access(GOLDEN, R_OK))
        skip();
    check_golden(512, GOLDEN "bpe_512.tokenizer.json");
    check_golden(2048, GOLDEN "bpe_2048.tokenizer.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merges_are_plain),
        cmocka_unit_test(test_text_may_run_out),
        cmocka_unit_test(test_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
