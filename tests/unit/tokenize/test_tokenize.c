/*
 * What atelier-tokenize does to a record.
 */
#include "../models/bpe_corpus.h"
#include "tokenize/tokenize.h"

static int start(void **state)
{
    struct tokenize *t = xcalloc(1, sizeof(*t));
    t->length = 256;
    t->bpe = train_corpus(400);
    t->worker = bpe_worker_new(t->bpe);
    *state = t;
    return 0;
}

static int stop(void **state)
{
    tokenize_close(*state);
    free(*state);
    return 0;
}

static void set_caption(struct record *r, const char *text)
{
    record_set_string(r, FIELD_CAPTION, text, strlen(text));
}

static void test_cut(void **state)
{
    struct tokenize *t = *state;
    struct record whole = {0}, r = {0};
    set_caption(&whole, corpus[0]);
    set_caption(&r, corpus[0]);
    assert_int_equal(tokenize_encode(t, &whole), 0);
    assert_false(record_has(&whole, FIELD_CUT));
    size_t all = whole.tokens.len;
    for (int64_t length = 1; length <= (int64_t)all + 1; length++) {
        t->length = length;
        size_t cut = (size_t)length < all ? all - (size_t)length : 0;
        assert_int_equal(tokenize_encode(t, &r), cut); /* also over what an earlier length has left */
        assert_int_equal(r.tokens.len, all - cut);
        assert_memory_equal(r.tokens.data, whole.tokens.data, r.tokens.len * sizeof(int32_t));
        assert_int_equal(record_has(&r, FIELD_CUT), cut > 0);
        assert_int_equal(record_has(&r, FIELD_CUT) ? r.cut : 0, cut);
        assert_string_equal(buf_string(&r.caption), corpus[0]);
    }
    record_free(&whole);
    record_free(&r);
}

static void test_empty_and_missing(void **state)
{
    struct tokenize *t = *state;
    struct record r = {0};
    set_caption(&r, "");
    assert_int_equal(tokenize_encode(t, &r), 0);
    assert_true(record_has(&r, FIELD_TOKENS));
    assert_int_equal(r.tokens.len, 0);
    record_clear(&r);
    assert_int_equal(tokenize_encode(t, &r), 0);
    assert_string_equal(buf_string(&r.reject), "caption: none");
    record_clear(&r);
    tokenize_decode(t, &r);
    assert_string_equal(buf_string(&r.reject), "tokens: none");
    record_free(&r);
}

static void test_decode(void **state)
{
    struct tokenize *t = *state;
    struct record r = {0};
    set_caption(&r, "Two DOGS aren't \u00dcBER");
    tokenize_encode(t, &r);
    record_drop(&r, FIELD_CAPTION);
    tokenize_decode(t, &r);
    assert_string_equal(buf_string(&r.caption), "two dogs aren't \u00fcber");
    int32_t longest = 0;
    for (int32_t id = 0; id < bpe_vocab(t->bpe); id++) {
        struct buf text = {0}, most = {0};
        bpe_decode(t->bpe, &id, 1, &text);
        bpe_decode(t->bpe, &longest, 1, &most);
        longest = text.len > most.len ? id : longest;
        buf_free(&text);
        buf_free(&most);
    }
    enum { MANY = 1 << 20 };
    int32_t *ids = xmalloc(MANY * sizeof(*ids));
    for (size_t i = 0; i < MANY; i++)
        ids[i] = longest;
    record_set_ints(&r, FIELD_TOKENS, ids, MANY);
    tokenize_decode(t, &r);
    assert_memory_equal(r.reject.data, "tokens: their text", 18);
    free(ids);
    record_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cut, start, stop),
        cmocka_unit_test_setup_teardown(test_empty_and_missing, start, stop),
        cmocka_unit_test_setup_teardown(test_decode, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
