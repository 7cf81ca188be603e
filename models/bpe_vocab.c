/*
 * The vocabulary in memory: tokens by id and by text, merges by pair (bpe_private.h).
 */
#include "models/bpe_private.h"
#include "models/bpe_unicode.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bpe *bpe_new(void)
{
    struct bpe *b = xcalloc(1, sizeof(*b));
    b->pattern = BPE_GPT2;
    b->clip_start = b->clip_end = -1;
    return b;
}

void bpe_free(struct bpe **b)
{
    struct bpe *old = *b;
    *b = NULL;
    if (!old)
        return;
    for (int i = 0; i < old->vocab; i++)
        free(old->tokens[i]);
    for (int i = 0; i < old->added_count; i++)
        buf_free(&old->added[i].match);
    free(old->tokens);
    free(old->index);
    free(old->merges);
    free(old->rules);
    free(old->unk);
    free(old->added);
    free(old);
}

int bpe_vocab(const struct bpe *b)
{
    return b->vocab;
}

bool bpe_is_clip(const struct bpe *b)
{
    return b->pattern == BPE_CLIP;
}

int bpe_clip_start(const struct bpe *b)
{
    return b->clip_start;
}

int bpe_clip_end(const struct bpe *b)
{
    return b->clip_end;
}

static size_t hash_text(const char *text, size_t len)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)text[i]) * 1099511628211u;
    return h ^ h >> 32;
}

/* Where the text's id is, or the empty slot where it belongs. */
static size_t index_slot(const struct bpe *b, const char *text, size_t len)
{
    size_t slot = hash_text(text, len) & (b->index_size - 1);
    for (; b->index[slot] >= 0; slot = (slot + 1) & (b->index_size - 1)) {
        const char *other = b->tokens[b->index[slot]];
        if (strlen(other) == len && !memcmp(other, text, len))
            break;
    }
    return slot;
}

int32_t bpe_find_token(const struct bpe *b, const char *text, size_t len)
{
    return b->index_size == 0 ? -1 : b->index[index_slot(b, text, len)];
}

static void grow_index(struct bpe *b)
{
    int32_t *old = b->index;
    size_t old_size = b->index_size;
    b->index_size = old_size == 0 ? 1024 : 2 * old_size;
    b->index = xmalloc(b->index_size * sizeof(*b->index));
    memset(b->index, 0xFF, b->index_size * sizeof(*b->index));
    for (size_t i = 0; i < old_size; i++)
        if (old[i] >= 0)
            b->index[index_slot(b, b->tokens[old[i]], strlen(b->tokens[old[i]]))] = old[i];
    free(old);
}

int bpe_add_token(struct bpe *b, const char *text, int32_t id)
{
    if (id < b->vocab && b->tokens[id])
        return -1;
    if (2 * b->indexed >= b->index_size)
        grow_index(b);
    size_t slot = index_slot(b, text, strlen(text));
    if (b->index[slot] >= 0)
        return -1;
    if ((size_t)id >= b->tokens_cap) {
        b->tokens_cap = 2 * (size_t)id + 256;
        b->tokens = xrealloc(b->tokens, b->tokens_cap * sizeof(*b->tokens));
    }
    for (; b->vocab <= id; b->vocab++)
        b->tokens[b->vocab] = NULL;
    b->tokens[id] = xstrdup(text);
    b->index[slot] = id;
    b->indexed++;
    return 0;
}

/* Printable bytes stand for themselves, the others for the characters from U+0100 on, in their order. */
static uint32_t byte_char(unsigned byte)
{
    if (byte <= ' ')
        return 256 + byte;
    if (byte >= 127 && byte <= 160)
        return 256 + 33 + byte - 127;
    return byte == 173 ? 256 + 33 + 34 : byte;
}

int bpe_char_byte(uint32_t c)
{
    if (c < 256)
        return byte_char(c) == c ? (int)c : -1;
    if (c <= 256 + ' ')
        return (int)c - 256;
    if (c < 256 + 33 + 34)
        return (int)c - 256 - 33 + 127;
    return c == 256 + 33 + 34 ? 173 : -1;
}

void bpe_append_alphabet(struct buf *out, const unsigned char *bytes, size_t len)
{
    buf_reserve(out, 2 * len);
    for (size_t i = 0; i < len; i++)
        out->len += bpe_utf8_put(byte_char(bytes[i]), out->data + out->len);
}

void bpe_add_alphabet(struct bpe *b, const char *suffix)
{
    for (uint32_t c = 0; c <= 256 + 33 + 34; c++) {
        if (bpe_char_byte(c) < 0)
            continue;
        char text[16];
        size_t n = bpe_utf8_put(c, (unsigned char *)text);
        snprintf(text + n, sizeof(text) - n, "%s", suffix);
        bpe_add_token(b, text, b->vocab);
    }
}

void bpe_add_added(struct bpe *b, const char *content, struct bpe_added added)
{
    b->added = xrealloc(b->added, ((size_t)b->added_count + 1) * sizeof(*b->added));
    struct bpe_added *a = &b->added[b->added_count++];
    *a = added;
    bpe_normalise(&a->match, (const unsigned char *)content, strlen(content), added.normalised && b->nfc,
                  added.normalised && b->lower);
    b->added_starts[added.normalised][a->match.data[0]] = true;
}

/* Ids of the single bytes, those at a word's end with CLIP's suffix. */
static void find_bytes(struct bpe *b)
{
    int32_t unk = b->unk ? bpe_find_token(b, b->unk, strlen(b->unk)) : -1;
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[16];
        size_t n = bpe_utf8_put(byte_char(byte), (unsigned char *)text);
        int32_t id = bpe_find_token(b, text, n);
        b->first[byte] = b->last[byte] = id < 0 ? unk : id;
        if (b->pattern != BPE_CLIP)
            continue;
        snprintf(text + n, sizeof(text) - n, "</w>");
        id = bpe_find_token(b, text, n + 4);
        b->last[byte] = id < 0 ? unk : id;
    }
}

void bpe_finish(struct bpe *b, struct bpe_merge *merges, size_t count)
{
    b->merges = merges;
    b->merge_count = 0;
    size_t size = 1024;
    while (size < 2 * count)
        size *= 2;
    b->rule_mask = size - 1;
    b->rules = xmalloc(size * sizeof(*b->rules));
    for (size_t i = 0; i < size; i++)
        b->rules[i] = (struct bpe_rule){UINT64_MAX, BPE_NO_RANK, -1};
    for (size_t rank = 0; rank < count; rank++) {
        struct bpe_merge m = merges[rank];
        *bpe_rule_slot(b, m.left, m.right) =
            (struct bpe_rule){(uint64_t)m.left << 32 | (uint32_t)m.right, (uint32_t)rank, m.id};
    }
    for (size_t rank = 0; rank < count; rank++) {
        struct bpe_rule *rule = bpe_rule_slot(b, merges[rank].left, merges[rank].right);
        if (rule->rank != rank)
            continue; /* listed again further down */
        rule->rank = (uint32_t)b->merge_count;
        merges[b->merge_count++] = merges[rank];
    }
    find_bytes(b);
}
