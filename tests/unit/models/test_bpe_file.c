/*
 * Vocabulary files: what opens, what is refused and in which words, and that damaged files are refused at all.
 */
#include "../common/scratch.h"
#include "bpe_corpus.h"
#include "common/err.h"
#include <jansson.h>
#include <zlib.h>

static char vocabulary[128]; /* a whole tokenizer.json */

static int make_vocabulary(void **state)
{
    if (scratch_make(state))
        return -1;
    struct bpe *b = train_corpus(280);
    snprintf(vocabulary, sizeof(vocabulary), "%s", scratch_path("whole.json"));
    int result = bpe_save(b, vocabulary);
    bpe_free(&b);
    return result;
}

/* The vocabulary with the field at `path` ("model.dropout") set to `value`; "" removes it. */
static const char *changed(const char *path, const char *value)
{
    json_t *root = json_load_file(vocabulary, 0, NULL), *at = root;
    const char *dot = strchr(path, '.'), *name = dot ? dot + 1 : path;
    if (dot) {
        char parent[64];
        snprintf(parent, sizeof(parent), "%.*s", (int)(dot - path), path);
        at = json_object_get(root, parent);
    }
    if (*value)
        assert_int_equal(json_object_set_new(at, name, json_loads(value, JSON_DECODE_ANY, NULL)), 0);
    else
        json_object_del(at, name);
    const char *file = scratch_path("changed.json");
    assert_int_equal(json_dump_file(root, file, 0), 0);
    json_decref(root);
    return file;
}

#define GPT4_SPLIT                                                                                                     \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?"         \
    "\\\\p{L}+|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},"  \
    "\"behavior\":\"Isolated\",\"invert\":false}"

static void test_supported(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"normalizer", "null"},
        {"normalizer", ""},
        {"normalizer", "{\"type\":\"NFC\"}"},
        {"normalizer", "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Lowercase\"}]}"},
        {"pre_tokenizer", "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}"},
        {"pre_tokenizer", "{\"type\":\"ByteLevel\",\"use_regex\":false}"},
        {"pre_tokenizer", "{\"type\":\"Sequence\",\"pretokenizers\":[" GPT4_SPLIT
                          ",{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}"},
        {"post_processor", "{\"type\":\"ByteLevel\",\"trim_offsets\":false}"},
        {"post_processor", "{\"type\":\"RobertaProcessing\",\"sep\":[\"</s>\",2],\"cls\":[\"<s>\",0]}"},
        {"decoder", "null"},
        {"added_tokens", "[{\"id\":280,\"content\":\"<s>\",\"special\":true,\"normalized\":false}]"},
        {"added_tokens", "[{\"id\":280,\"content\":\"<mask>\",\"lstrip\":true,\"rstrip\":true}]"},
        {"model.dropout", "0.0"},
        {"model.continuing_subword_prefix", "\"\""},
        {"model.end_of_word_suffix", "\"\""},
        {"model.unk_token", "\"a\""},
        {"model.ignore_merges", "true"},
        {"model.merges", "[\"a n\"]"},
        {"model.merges", "[]"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bpe *b, *again;
        struct buf first = {0}, second = {0};
        const char *saved = scratch_path("saved.json");
        if (bpe_open(&b, changed(cases[i][0], cases[i][1])))
            fail_msg("%s", err_text());
        assert_int_equal(bpe_save(b, saved), 0);
        assert_int_equal(file_read(saved, 1 << 24, &first), 0);
        assert_int_equal(bpe_open(&again, saved), 0);
        assert_int_equal(bpe_save(again, saved), 0);
        assert_int_equal(file_read(saved, 1 << 24, &second), 0);
        assert_string_equal(buf_string(&first), buf_string(&second));
        assert_int_equal(bpe_vocab(b), bpe_vocab(again));
        buf_free(&first);
        buf_free(&second);
        bpe_free(&b);
        bpe_free(&again);
    }
}

static void test_unsupported(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"truncation", "{\"max_length\":77}", "truncation is {\"max_length\":77}"},
        {"padding", "{}", "padding is {}"},
        {"normalizer", "{\"type\":\"NFKC\"}", "normalizer is {\"type\":\"NFKC\"}"},
        {"normalizer", "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"},{\"type\":\"NFC\"}]}",
         "normalizer is {\"type\":\"NFC\"}"},
        {"normalizer", "3", "normalizer is 3"},
        {"pre_tokenizer", "null", "pre_tokenizer is null"},
        {"pre_tokenizer", "", "pre_tokenizer is missing"},
        {"pre_tokenizer", "{\"type\":\"Metaspace\"}", "pre_tokenizer is {\"type\":\"Metaspace\"}"},
        {"pre_tokenizer", "{\"type\":\"Sequence\",\"pretokenizers\":[" GPT4_SPLIT "]}", "pre_tokenizer is"},
        {"decoder", "{\"type\":\"WordPiece\"}", "decoder is"},
        {"model", "", "model.type is missing"},
        {"model", "[]", "model.type is missing"},
        {"model.type", "\"Unigram\"", "model.type is \"Unigram\""},
        {"model.dropout", "0.1", "model.dropout is 0.1"},
        {"model.continuing_subword_prefix", "\"##\"", "model.continuing_subword_prefix is \"##\""},
        {"model.end_of_word_suffix", "\"</w>\"", "model.end_of_word_suffix is \"</w>\""},
        {"model.fuse_unk", "true", "model.fuse_unk is true"},
        {"model.byte_fallback", "true", "model.byte_fallback is true"},
        {"model.unk_token", "\"<unk>\"", "model.unk_token \"<unk>\" is not in model.vocab"},
        {"model.vocab", "[]", "model.vocab is no object"},
        {"model.vocab", "{\"a\":0,\"b\":-1}", "model.vocab: the id of \"b\""},
        {"model.vocab", "{\"a\":0,\"b\":1.5}", "model.vocab: the id of \"b\""},
        {"model.vocab", "{\"a\":0,\"b\":2000000000}", "model.vocab: the id of \"b\""},
        {"model.vocab", "{\"a\":0,\"b\":0}", "model.vocab: the id 0 of"},
        {"model.merges", "{}", "model.merges is no list"},
        {"model.merges", "[\"a n\", \"an\"]", "model.merges[1] is no pair"},
        {"model.merges", "[\"a n b\"]", "model.merges[0] is no pair"},
        {"model.merges", "[[\"a\"]]", "model.merges[0] is no pair"},
        {"model.merges", "[[\"a\",1]]", "model.merges[0] is no pair"},
        {"model.merges", "[7]", "model.merges[0] is no pair"},
        {"model.merges", "[[\"q\",\"q\"]]", "model.merges[0]: \"q\", \"q\" or both together"},
        {"added_tokens", "[{\"id\":280}]", "added_tokens[0] has no content"},
        {"added_tokens", "[{\"id\":280,\"content\":\"\"}]", "added_tokens[0] has no content"},
        {"added_tokens", "[{\"id\":5,\"content\":\"<s>\"}]", "added_tokens[0]: the id 5 is another token's"},
        {"added_tokens", "[{\"id\":280,\"content\":\"a\"}]", "added_tokens[0]: \"a\" cannot have the id 280"},
        {"added_tokens", "[{\"id\":99999999,\"content\":\"<s>\"}]", "added_tokens[0]: \"<s>\" cannot have"},
        {"added_tokens", "[{\"id\":280,\"content\":\"<s>\",\"single_word\":true}]",
         "added_tokens[0].single_word is true"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bpe *b = (struct bpe *)&b;
        assert_int_equal(bpe_open(&b, changed(cases[i][0], cases[i][1])), -1);
        assert_null(b);
        assert_int_equal(err_code(), ERR_DATA);
        if (!strstr(err_text(), cases[i][2]) || !strstr(err_text(), "changed.json"))
            fail_msg("%s = %s: %s", cases[i][0], cases[i][1], err_text());
    }
}

static void refuse(const char *name, const void *data, size_t len, const char *why)
{
    struct bpe *b;
    const char *path = scratch_path(name);
    scratch_write(path, data, len);
    assert_int_equal(bpe_open(&b, path), -1);
    if (!strstr(err_text(), why) || !strstr(err_text(), name))
        fail_msg("%s", err_text());
}

static void test_other_files(void **state)
{
    (void)state;
    struct bpe *b;
    assert_int_equal(bpe_open(&b, scratch_path("absent.json")), -1);
    assert_int_equal(err_code(), ERR_IO);
    refuse("empty", "", 0, "neither a tokenizer.json nor CLIP's");
    refuse("gpt2_merges.txt", "#version: 0.2\na b\n", 18, "neither a tokenizer.json nor CLIP's");
    refuse("duplicate.json", "{\"model\": 1, \"model\": 2}", 24, "is no JSON: line 1");
    refuse("bytes", "\0\1\2\3</w>\0", 9, "holds no merges");
    refuse("damaged.gz", "\x1F\x8B\x08\x00\x00\x00\x00\x00\x00\x03\x4B\xFF\xFF", 13, "damaged.gz");
}

/* Cut anywhere, and with a byte changed anywhere: refused or opened, nothing worse. */
static void test_damage(void **state)
{
    (void)state;
    struct buf whole = {0};
    assert_int_equal(file_read(vocabulary, 1 << 24, &whole), 0);
    const char *path = scratch_path("damaged.json");
    struct bpe *b;
    for (size_t len = 0; len < whole.len - 1; len += 1 + len / 40) {
        scratch_write(path, whole.data, len);
        assert_int_equal(bpe_open(&b, path), -1);
    }
    unsigned seed = 3;
    for (int i = 0; i < 300; i++) {
        size_t at = (size_t)rand_r(&seed) % whole.len;
        unsigned char kept = whole.data[at];
        whole.data[at] = (unsigned char)rand_r(&seed);
        scratch_write(path, whole.data, whole.len);
        if (bpe_open(&b, path) == 0)
            bpe_free(&b);
        whole.data[at] = kept;
    }
    buf_free(&whole);
}

static void expect_ids(const struct bpe *b, const char *text, const char *expected)
{
    struct bpe_worker *w = bpe_worker_new(b);
    struct ints ids = {0};
    struct buf shown = {0};
    bpe_encode(w, text, strlen(text), &ids);
    for (size_t i = 0; i < ids.len; i++)
        buf_printf(&shown, "%s%d", i ? " " : "", ids.data[i]);
    assert_string_equal(buf_string(&shown), expected);
    buf_free(&shown);
    free(ids.data);
    bpe_worker_free(&w);
}

/* A small vocabulary whose ids can be told by hand: a 0, b 1, Ġ 2, ab 3, Ġa 4, <e> 5, <E>x 6. */
static void test_rules(void **state)
{
    (void)state;
    static const char format[] =
        "{\"normalizer\": {\"type\":\"Lowercase\"}, \"pre_tokenizer\": {\"type\":\"ByteLevel\", "
        "\"add_prefix_space\": %s, \"use_regex\": %s}, \"added_tokens\": [{\"id\": 5, \"content\": \"<E>\", "
        "\"normalized\": %s}, {\"id\": 6, \"content\": \"<E>ab\", \"normalized\": false}], \"model\": {\"type\": "
        "\"BPE\", \"unk_token\": %s, \"ignore_merges\": %s, \"vocab\": {\"a\":0, \"b\":1, \"\u0120\":2, \"ab\":3, "
        "\"\u0120a\":4, \"\u0120aba\":7}, \"merges\": [\"a b\", \"\u0120 a\"]}}";
    static const char *const cases[][7] = {
        {"false", "true", "false", "null", "false", "ab ab a", "3 2 3 4"},
        {"false", "true", "false", "null", "false", "xabxc", "3"}, /* bytes that no token has are left out */
        {"false", "true", "false", "\"b\"", "false", "xab", "1 3"},
        {"true", "true", "false", "null", "false", "ab ab", "2 3 2 3"},
        {"true", "true", "false", "null", "false", " ab", "2 3"},
        {"true", "true", "false", "null", "false", "", ""},
        {"false", "false", "false", "null", "false", "ab abab", "3 2 3 3"},
        {"false", "true", "false", "null", "true", " aba aba", "7 7"},
        {"false", "true", "false", "null", "false", "A<E>ab<E>a<e>b", "0 6 5 0 1"},
        {"true", "true", "false", "null", "false", "b<E>b", "2 1 5 2 1"},
        {"true", "true", "true", "null", "false", "b<e>b<E>ab<E>", "2 1 5 2 1 6 5"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf text = {0};
        struct bpe *b;
        const char *path = scratch_path("small.json");
        buf_printf(&text, format, cases[i][0], cases[i][1], cases[i][2], cases[i][3], cases[i][4]);
        scratch_write(path, text.data, text.len);
        assert_int_equal(bpe_open(&b, path), 0);
        expect_ids(b, cases[i][5], cases[i][6]);
        buf_free(&text);
        bpe_free(&b);
    }
}

/* Of a merge that is listed twice the later place counts, as in tokenizers, which also saves it once. */
static void test_repeated_merge(void **state)
{
    (void)state;
    static const char text[] =
        "{\"pre_tokenizer\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\": \"BPE\", \"vocab\": "
        "{\"a\": 0, \"b\": 1, \"ab\": 2, \"ba\": 3}, \"merges\": [\"a b\", \"b a\", \"a b\"]}}";
    const char *path = scratch_path("twice.json");
    struct bpe *b;
    scratch_write(path, text, sizeof(text) - 1);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(bpe_open(&b, path), 0);
        expect_ids(b, "bab", "3 1");
        assert_int_equal(bpe_save(b, path), 0);
        bpe_free(&b);
    }
    json_t *saved = json_load_file(path, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(json_object_get(saved, "model"), "merges")), 2);
    json_decref(saved);
}

static void test_clip(void **state)
{
    (void)state;
    static const char merges[] = "#version: 0.2\na b</w>\nb a\nba b</w>\n";
    const char *path = scratch_path("merges.txt.gz");
    gzFile f = gzopen(path, "wb");
    assert_int_equal(gzwrite(f, merges, sizeof(merges) - 1), sizeof(merges) - 1);
    gzclose(f);
    struct bpe *b;
    assert_int_equal(bpe_open(&b, path), 0);
    assert_true(bpe_is_clip(b));
    assert_int_equal(bpe_vocab(b), 512 + 3 + 2);
    assert_int_equal(bpe_clip_start(b), 515);
    assert_int_equal(bpe_clip_end(b), 516);
    expect_ids(b, "AB bab  b", "512 65 512 321");
    expect_ids(b, "ab<|endoftext|><|STARTOFTEXT|>", "512 516 515");
    struct buf text = {0};
    bpe_decode(b, (const int32_t[]){512, 514, 321}, 3, &text);
    assert_string_equal(buf_string(&text), "ab bab b");
    buf_free(&text);

    struct bpe *again; /* CLIP's rules in a tokenizer.json */
    const char *json = scratch_path("clip.json");
    assert_int_equal(bpe_save(b, json), 0);
    assert_int_equal(bpe_open(&again, json), 0);
    assert_true(bpe_is_clip(again));
    assert_int_equal(bpe_clip_end(again), 516);
    expect_ids(again, "AB bab  b<|endoftext|>", "512 65 512 321 516");
    bpe_free(&again);
    bpe_free(&b);
    refuse("bad0.txt", "#version </w>\n", 14, "holds no merges");
    refuse("bad1.txt", "#version\na b</w>\nab</w>\n", 24, "line 3 is no merge");
    refuse("bad2.txt", "#version\na b</w>\na bc\n", 22, "line 3: a piece");
    refuse("bad3.txt", "#version\na b</w>\na b</w>\n", 25, "line 3 makes a piece that is there already");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_supported),      cmocka_unit_test(test_unsupported), cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_damage),         cmocka_unit_test(test_rules),       cmocka_unit_test(test_clip),
        cmocka_unit_test(test_repeated_merge),
    };
    return cmocka_run_group_tests(tests, make_vocabulary, scratch_remove);
}
