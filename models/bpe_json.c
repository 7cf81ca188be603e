/*
 * Hugging Face's tokenizer.json, read and written. Read: model BPE, pre-tokenizer ByteLevel with its own pattern or one
 * of those below, no normalizer or NFC, Lowercase or both; and CLIP's. Whatever would change ids and is not done here
 * is refused with its field named. Added tokens are found in text as Hugging Face finds them, so a caption that spells
 * one out becomes it; those that a post-processor would put around each text are not added.
 */
#include "common/err.h"
#include "models/bpe_private.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* CLIP's rules as files spell them. */
#define CLIP_NORMALIZER                                                                                                \
    "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},"                                                      \
    "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"\\\\s+\"},\"content\":\" \"},{\"type\":\"Lowercase\"}]}"
#define CLIP_SPLIT                                                                                                     \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"'s|'t|'re|'ve|'m|'ll|'d|[\\\\p{L}]+|[\\\\p{N}]|"                     \
    "[^\\\\s\\\\p{L}\\\\p{N}]+\"},\"behavior\":\"Removed\",\"invert\":true}"

/* Patterns of a Split in front of ByteLevel. */
static const struct split {
    enum bpe_pattern pattern;
    const char *regex;
} splits[] = {
    {BPE_GPT4, "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
               "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    {BPE_QWEN2, "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
                "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    {BPE_GPT2, "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"},
};

enum { SPARE_IDS = 65536 }; /* how many ids below the largest may be unused */

/* Absent, null, false, zero or empty: does nothing. */
static bool is_off(const json_t *value)
{
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_number(value) && json_number_value(value) == 0) ||
           (json_is_string(value) && json_string_length(value) == 0);
}

static bool is_text(const json_t *value, const char *text)
{
    return json_is_string(value) && !strcmp(json_string_value(value), text);
}

static bool has_type(const json_t *value, const char *type)
{
    return is_text(json_object_get(value, "type"), type);
}

static bool equals(const json_t *value, const char *text)
{
    json_t *other = json_loads(text, 0, NULL);
    bool equal = json_equal(value, other);
    json_decref(other);
    return equal;
}

static int unsupported(const char *field, const json_t *value, const char *supported)
{
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    err_set(ERR_DATA, "%s is %.80s, which is not supported; supported: %s", field, text ? text : "missing", supported);
    free(text);
    return -1;
}

static int read_normalizer(struct bpe *b, const json_t *value)
{
    const char *supported = "null, NFC, Lowercase, both in this order, CLIP's";
    if (is_off(value))
        return 0;
    if (has_type(value, "NFC") && !b->lower) {
        b->nfc = true;
        return 0;
    }
    if (has_type(value, "Lowercase")) {
        b->lower = true;
        return 0;
    }
    const json_t *list = json_object_get(value, "normalizers");
    if (!has_type(value, "Sequence") || !json_is_array(list))
        return unsupported("normalizer", value, supported);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (read_normalizer(b, json_array_get(list, i)))
            return -1;
    return 0;
}

/* Split, then ByteLevel without a pattern of its own. */
static int read_split(struct bpe *b, const json_t *value)
{
    const json_t *list = json_object_get(value, "pretokenizers"), *split = json_array_get(list, 0),
                 *level = json_array_get(list, 1), *regex = json_object_get(json_object_get(split, "pattern"), "Regex");
    bool good = json_array_size(list) == 2 && has_type(split, "Split") &&
                is_text(json_object_get(split, "behavior"), "Isolated") && is_off(json_object_get(split, "invert")) &&
                has_type(level, "ByteLevel") && is_off(json_object_get(level, "add_prefix_space")) &&
                json_is_false(json_object_get(level, "use_regex"));
    for (size_t i = 0; good && i < sizeof(splits) / sizeof(splits[0]); i++) {
        if (is_text(regex, splits[i].regex)) {
            b->pattern = splits[i].pattern;
            return 0;
        }
    }
    return unsupported("pre_tokenizer", value,
                       "ByteLevel, CLIP's, and Split (isolated) by the pattern of GPT-2, GPT-4, Llama 3 or Qwen 2 with "
                       "a bare ByteLevel behind it");
}

static int read_byte_level(struct bpe *b, const json_t *value)
{
    if (!has_type(value, "ByteLevel"))
        return read_split(b, value);
    b->prefix_space = !is_off(json_object_get(value, "add_prefix_space"));
    b->pattern = json_is_false(json_object_get(value, "use_regex")) ? BPE_WHOLE : BPE_GPT2;
    return 0;
}

static int read_clip_split(struct bpe *b, const json_t *value)
{
    const json_t *list = json_object_get(value, "pretokenizers"), *byte_level = json_array_get(list, 1);
    if (!has_type(value, "Sequence") || json_array_size(list) != 2 || !equals(json_array_get(list, 0), CLIP_SPLIT) ||
        !has_type(byte_level, "ByteLevel") || !is_off(json_object_get(byte_level, "add_prefix_space")))
        return unsupported("pre_tokenizer", value, "CLIP's, since the normalizer is CLIP's");
    b->pattern = BPE_CLIP;
    b->nfc = b->lower = true;
    return 0;
}

/* All but vocabulary and merges. */
static int read_rules(struct bpe *b, const json_t *root, const json_t *model)
{
    static const char *const off[] = {"dropout", "continuing_subword_prefix", "fuse_unk", "byte_fallback"};
    const json_t *normalizer = json_object_get(root, "normalizer"), *split = json_object_get(root, "pre_tokenizer"),
                 *decoder = json_object_get(root, "decoder"), *suffix = json_object_get(model, "end_of_word_suffix");
    if (!is_off(json_object_get(root, "truncation")))
        return unsupported("truncation", json_object_get(root, "truncation"), "null (--length cuts)");
    if (!is_off(json_object_get(root, "padding")))
        return unsupported("padding", json_object_get(root, "padding"), "null (the trainer pads)");
    if (!has_type(model, "BPE"))
        return unsupported("model.type", json_object_get(model, "type"), "BPE");
    for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++) {
        char field[64];
        snprintf(field, sizeof(field), "model.%s", off[i]);
        if (!is_off(json_object_get(model, off[i])))
            return unsupported(field, json_object_get(model, off[i]), "null or false");
    }
    if (equals(normalizer, CLIP_NORMALIZER) ? read_clip_split(b, split)
                                            : read_normalizer(b, normalizer) || read_byte_level(b, split))
        return -1;
    bool clip = bpe_is_clip(b);
    if (clip ? !is_text(suffix, "</w>") : !is_off(suffix))
        return unsupported("model.end_of_word_suffix", suffix, clip ? "</w>" : "null");
    if (!is_off(decoder) && !has_type(decoder, "ByteLevel"))
        return unsupported("decoder", decoder, "null or ByteLevel");
    b->ignore_merges = !is_off(json_object_get(model, "ignore_merges"));
    return 0;
}

static int read_vocab(struct bpe *b, json_t *vocab, size_t added)
{
    if (!json_is_object(vocab) || json_object_size(vocab) == 0)
        return err_set(ERR_DATA, "model.vocab is no object of tokens and their ids");
    json_int_t limit = (json_int_t)json_object_size(vocab) + (json_int_t)added + SPARE_IDS;
    const char *text;
    json_t *id;
    json_object_foreach(vocab, text, id)
    {
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= limit)
            return err_set(ERR_DATA, "model.vocab: the id of \"%.60s\" is no integer from 0 to %lld", text,
                           (long long)limit - 1);
        if (bpe_add_token(b, text, (int32_t)json_integer_value(id)))
            return err_set(ERR_DATA, "model.vocab: the id %lld of \"%.60s\" is another token's",
                           (long long)json_integer_value(id), text);
    }
    return 0;
}

/* Both forms of a merge: "left right" and ["left", "right"]. */
static int read_merge(const struct bpe *b, const json_t *value, size_t rank, struct bpe_merge *merge)
{
    const char *left = json_string_value(json_array_get(value, 0)),
               *right = json_string_value(json_array_get(value, 1));
    size_t left_len = left ? strlen(left) : 0;
    if (json_is_string(value)) {
        left = json_string_value(value);
        right = strchr(left, ' ');
        left_len = right ? (size_t)(right - left) : 0;
        right = right && !strchr(right + 1, ' ') ? right + 1 : NULL;
    } else if (json_array_size(value) != 2) {
        left = NULL;
    }
    if (!left || !right)
        return err_set(ERR_DATA, "model.merges[%zu] is no pair of tokens", rank);
    char *whole = xasprintf("%.*s%s", (int)left_len, left, right);
    *merge = (struct bpe_merge){bpe_find_token(b, left, left_len), bpe_find_token(b, right, strlen(right)),
                                bpe_find_token(b, whole, strlen(whole))};
    free(whole);
    if (merge->left < 0 || merge->right < 0 || merge->id < 0)
        return err_set(ERR_DATA, "model.merges[%zu]: \"%.*s\", \"%.40s\" or both together are not in model.vocab", rank,
                       (int)(left_len < 40 ? left_len : 40), left, right);
    return 0;
}

static int read_merges(struct bpe *b, const json_t *list)
{
    if (!json_is_array(list))
        return err_set(ERR_DATA, "model.merges is no list");
    struct bpe_merge *merges = xmalloc((json_array_size(list) + 1) * sizeof(*merges));
    for (size_t i = 0; i < json_array_size(list); i++)
        if (read_merge(b, json_array_get(list, i), i, &merges[i])) {
            free(merges);
            return -1;
        }
    bpe_finish(b, merges, json_array_size(list));
    return 0;
}

static int read_added(struct bpe *b, const json_t *token, size_t i)
{
    const char *content = json_string_value(json_object_get(token, "content"));
    const json_t *id = json_object_get(token, "id"), *single = json_object_get(token, "single_word");
    if (!content || !*content || !json_is_integer(id))
        return err_set(ERR_DATA, "added_tokens[%zu] has no content or no id", i);
    if (!is_off(single)) {
        char field[64];
        snprintf(field, sizeof(field), "added_tokens[%zu].single_word", i);
        return unsupported(field, single, "false");
    }
    int32_t present = bpe_find_token(b, content, strlen(content));
    json_int_t number = json_integer_value(id);
    if (present >= 0 ? number != present : number < 0 || number >= b->vocab + SPARE_IDS)
        return err_set(ERR_DATA, "added_tokens[%zu]: \"%.60s\" cannot have the id %lld", i, content, (long long)number);
    if (present < 0 && bpe_add_token(b, content, (int32_t)number))
        return err_set(ERR_DATA, "added_tokens[%zu]: the id %lld is another token's", i, (long long)number);
    struct bpe_added added = {.id = (int32_t)number,
                              .normalised = json_is_true(json_object_get(token, "normalized")),
                              .special = json_is_true(json_object_get(token, "special")),
                              .lstrip = json_is_true(json_object_get(token, "lstrip")),
                              .rstrip = json_is_true(json_object_get(token, "rstrip")),
                              .own = present < 0};
    bpe_add_added(b, content, added);
    return 0;
}

static int read_root(struct bpe *b, const json_t *root)
{
    const json_t *added = json_object_get(root, "added_tokens"), *model = json_object_get(root, "model");
    const json_t *unk = json_object_get(model, "unk_token");
    if (read_rules(b, root, model) || read_vocab(b, json_object_get(model, "vocab"), json_array_size(added)))
        return -1;
    if (json_is_string(unk)) {
        if (bpe_find_token(b, json_string_value(unk), json_string_length(unk)) < 0)
            return err_set(ERR_DATA, "model.unk_token \"%.60s\" is not in model.vocab", json_string_value(unk));
        b->unk = xstrdup(json_string_value(unk));
    }
    if (read_merges(b, json_object_get(model, "merges")))
        return -1;
    for (size_t i = 0; i < json_array_size(added); i++)
        if (read_added(b, json_array_get(added, i), i))
            return -1;
    if (bpe_is_clip(b)) {
        b->clip_start = bpe_find_token(b, BPE_CLIP_START, strlen(BPE_CLIP_START));
        b->clip_end = bpe_find_token(b, BPE_CLIP_END, strlen(BPE_CLIP_END));
        if (b->clip_start < 0 || b->clip_end < 0)
            return err_set(ERR_DATA, "model.vocab lacks %s or %s", BPE_CLIP_START, BPE_CLIP_END);
    }
    return 0;
}

int bpe_read_json(struct bpe *b, const char *text, size_t len)
{
    json_error_t error;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return err_set(ERR_DATA, "is no JSON: line %d: %s", error.line, error.text);
    int result = read_root(b, root);
    json_decref(root);
    return result;
}

static json_t *added_to_json(const struct bpe *b)
{
    json_t *list = json_array();
    for (int i = 0; i < b->added_count; i++) {
        const struct bpe_added *a = &b->added[i];
        json_array_append_new(list, json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", a->id, "content",
                                              b->tokens[a->id], "single_word", 0, "lstrip", a->lstrip, "rstrip",
                                              a->rstrip, "normalized", a->normalised, "special", a->special));
    }
    return list;
}

static json_t *normalizer_to_json(const struct bpe *b)
{
    if (bpe_is_clip(b))
        return json_loads(CLIP_NORMALIZER, 0, NULL);
    if (b->nfc && b->lower)
        return json_pack("{s:s, s:[{s:s}, {s:s}]}", "type", "Sequence", "normalizers", "type", "NFC", "type",
                         "Lowercase");
    if (b->nfc || b->lower)
        return json_pack("{s:s}", "type", b->nfc ? "NFC" : "Lowercase");
    return json_null();
}

static json_t *byte_level(bool prefix_space, bool use_regex)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", prefix_space, "trim_offsets", 1,
                     "use_regex", use_regex);
}

static json_t *split_to_json(const struct bpe *b)
{
    if (bpe_is_clip(b))
        return json_pack("{s:s, s:[o, o]}", "type", "Sequence", "pretokenizers", json_loads(CLIP_SPLIT, 0, NULL),
                         byte_level(false, true));
    for (size_t i = 0; i < sizeof(splits) / sizeof(splits[0]); i++)
        if (splits[i].pattern == b->pattern && b->pattern != BPE_GPT2)
            return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}", "type", "Sequence", "pretokenizers", "type",
                             "Split", "pattern", "Regex", splits[i].regex, "behavior", "Isolated", "invert", 0,
                             byte_level(false, false));
    return byte_level(b->prefix_space, b->pattern == BPE_GPT2);
}

/* Whether an id is listed among the added tokens alone. */
static bool only_added(const struct bpe *b, int id)
{
    for (int i = 0; i < b->added_count; i++)
        if (b->added[i].id == id)
            return b->added[i].own;
    return false;
}

static json_t *model_to_json(const struct bpe *b)
{
    json_t *vocab = json_object(), *merges = json_array();
    for (int id = 0; id < b->vocab; id++)
        if (b->tokens[id] && !only_added(b, id))
            json_object_set_new(vocab, b->tokens[id], json_integer(id));
    for (size_t i = 0; i < b->merge_count; i++)
        json_array_append_new(merges, json_pack("[s, s]", b->tokens[b->merges[i].left], b->tokens[b->merges[i].right]));
    return json_pack("{s:s, s:n, s:s?, s:n, s:s?, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                     b->unk, "continuing_subword_prefix", "end_of_word_suffix", bpe_is_clip(b) ? "</w>" : NULL,
                     "fuse_unk", 0, "byte_fallback", 0, "ignore_merges", b->ignore_merges, "vocab", vocab, "merges",
                     merges);
}

int bpe_save(const struct bpe *b, const char *path)
{
    json_t *root =
        json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:n, s:o, s:o}", "version", "1.0", "truncation", "padding",
                  "added_tokens", added_to_json(b), "normalizer", normalizer_to_json(b), "pre_tokenizer",
                  split_to_json(b), "post_processor", "decoder", byte_level(true, true), "model", model_to_json(b));
    char *text = json_dumps(root, JSON_INDENT(2));
    int result = file_write(path, text, strlen(text));
    free(text);
    json_decref(root);
    return result;
}
