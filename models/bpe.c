/*
 * Encoding and decoding (bpe.h). Words come from bpe_split.c and their pieces from bpe_merge.c; most words are
 * answered by a cache of the words seen before.
 */
#include "models/bpe_private.h"
#include "models/bpe_unicode.h"
#include <stdlib.h>
#include <string.h>

/* A cache line: longer words and those of more pieces are merged each time. */
enum { WORD_BYTES = 32, WORD_IDS = 7, CACHE_BITS = 15 };
struct cached_word {
    unsigned char key[WORD_BYTES]; /* the word, zeros, and its length in the last byte */
    int32_t count, ids[WORD_IDS];
};

struct bpe_worker {
    const struct bpe *bpe;
    struct cached_word *cache; /* [1 << CACHE_BITS], in pairs: a new word takes the older one's place */
    struct buf text;           /* the normalised text, one byte in */
    struct bpe_scratch scratch;
};

struct bpe_worker *bpe_worker_new(const struct bpe *b)
{
    struct bpe_worker *w = xcalloc(1, sizeof(*w));
    w->bpe = b;
    w->cache = xcalloc((size_t)1 << CACHE_BITS, sizeof(*w->cache));
    return w;
}

void bpe_worker_free(struct bpe_worker **w)
{
    if (*w) {
        free((*w)->cache);
        buf_free(&(*w)->text);
        bpe_scratch_free(&(*w)->scratch);
        free(*w);
    }
    *w = NULL;
}

static void reserve_ids(struct ints *ids, size_t more)
{
    if (ids->cap - ids->len >= more)
        return;
    ids->cap = ids->len + more + ids->cap / 2;
    ids->data = xrealloc(ids->data, ids->cap * sizeof(*ids->data));
}

/* The word as a cache key; `len` < WORD_BYTES. Reads WORD_BYTES bytes of it. */
static inline void make_key(const unsigned char *word, size_t len, uint64_t key[WORD_BYTES / 8])
{
    static const unsigned char masks[2 * WORD_BYTES] = {[0 ... WORD_BYTES - 1] = 0xFF};
    unsigned char bytes[WORD_BYTES];
    for (size_t i = 0; i < WORD_BYTES; i++)
        bytes[i] = word[i] & masks[WORD_BYTES - len + i];
    memcpy(key, bytes, WORD_BYTES);
    key[3] |= (uint64_t)len << 56;
}

static inline size_t cache_slot(const uint64_t key[WORD_BYTES / 8])
{
    uint64_t h = key[0] * 0x9E3779B97F4A7C15u + key[1] * 0xC2B2AE3D27D4EB4Fu + key[2] * 0x165667B19E3779F9u +
                 key[3] * 0xD6E8FEB86659FD93u;
    return (h ^ h >> 29) * 0x9E3779B97F4A7C15u >> (64 - CACHE_BITS);
}

static inline bool same_key(const struct cached_word *c, const uint64_t key[WORD_BYTES / 8])
{
    uint64_t other[WORD_BYTES / 8];
    memcpy(other, c->key, WORD_BYTES);
    return ((other[0] ^ key[0]) | (other[1] ^ key[1]) | (other[2] ^ key[2]) | (other[3] ^ key[3])) == 0;
}

/* Appends a word's ids; there is room for as many as it has bytes, and for WORD_IDS. */
static inline void encode_word(struct bpe_worker *w, const unsigned char *word, size_t len, struct ints *ids)
{
    int32_t *out = ids->data + ids->len;
    if (len >= WORD_BYTES) {
        ids->len += bpe_merge_word(w->bpe, &w->scratch, word, len, NULL, out);
        return;
    }
    uint64_t key[WORD_BYTES / 8];
    make_key(word, len, key);
    size_t slot = cache_slot(key);
    struct cached_word *hit = &w->cache[slot];
    if (!same_key(hit, key) && !same_key(hit = &w->cache[slot ^ 1], key)) {
        size_t count = bpe_merge_word(w->bpe, &w->scratch, word, len, NULL, out);
        ids->len += count;
        if (count <= WORD_IDS) {
            *hit = w->cache[slot];
            hit = &w->cache[slot];
            memcpy(hit->key, key, WORD_BYTES);
            memcpy(hit->ids, out, count * sizeof(*out));
            hit->count = (int32_t)count;
        }
        return;
    }
    memcpy(out, hit->ids, sizeof(hit->ids));
    ids->len += (size_t)hit->count;
}

/* Encodes normalised text; the byte before it may be overwritten. */
static void encode_words(struct bpe_worker *w, unsigned char *text, unsigned char *end, struct bpe_dropout *dropout,
                         struct ints *ids)
{
    const struct bpe *b = w->bpe;
    if (b->prefix_space && text < end && *text != ' ')
        *--text = ' ';
    reserve_ids(ids, (size_t)(end - text) + WORD_IDS);
    const unsigned char *p = text, *word;
    size_t len;
    while ((word = bpe_next_word(b->pattern, &p, end, &len)) != NULL) {
        if (dropout)
            ids->len += bpe_merge_word(b, &w->scratch, word, len, dropout, ids->data + ids->len);
        else
            encode_word(w, word, len, ids);
    }
}

/* The leftmost added token in the text, the longest of those that start there, and where it is; NULL, and the end:
 * there is none. */
static const struct bpe_added *find_added(const struct bpe *b, bool normalised, const unsigned char *p,
                                          const unsigned char *end, const unsigned char **at)
{
    const struct bpe_added *found = NULL;
    for (; b->added_count > 0 && p < end && !found; p++) {
        if (!b->added_starts[normalised][*p])
            continue;
        for (int i = 0; i < b->added_count; i++) {
            const struct bpe_added *a = &b->added[i];
            if (a->normalised == normalised && a->match.len <= (size_t)(end - p) &&
                !memcmp(p, a->match.data, a->match.len) && (!found || a->match.len > found->match.len))
                found = a;
        }
        *at = p;
    }
    if (!found)
        *at = end;
    return found;
}

static void add_id(struct ints *ids, int32_t id)
{
    reserve_ids(ids, 1);
    ids->data[ids->len++] = id;
}

static const unsigned char *skip_space(const unsigned char *p, const unsigned char *end)
{
    uint32_t c;
    for (size_t n; p < end && (n = bpe_utf8_next(p, (size_t)(end - p), &c), bpe_class(c) == BPE_SPACE);)
        p += n;
    return p;
}

/* The end of text[0:len] without the white space there. */
static size_t trimmed(const unsigned char *text, size_t len)
{
    size_t kept = 0;
    uint32_t c;
    for (size_t i = 0; i < len;) {
        i += bpe_utf8_next(text + i, len - i, &c);
        kept = bpe_class(c) == BPE_SPACE ? kept : i;
    }
    return kept;
}

/* Encodes text that holds no added token as it stands. */
static void encode_plain(struct bpe_worker *w, const unsigned char *text, size_t len, struct bpe_dropout *dropout,
                         struct ints *ids)
{
    w->text.len = 0;
    buf_append(&w->text, " ", 1);
    bpe_normalise(&w->text, text, len, w->bpe->nfc, w->bpe->lower);
    unsigned char *p = w->text.data + 1, *end = w->text.data + w->text.len;
    for (;;) {
        const unsigned char *at;
        const struct bpe_added *added = find_added(w->bpe, true, p, end, &at);
        size_t before = (size_t)(at - p);
        encode_words(w, p, p + (added && added->lstrip ? trimmed(p, before) : before), dropout, ids);
        if (!added)
            return;
        add_id(ids, added->id);
        p += before + added->match.len;
        if (added->rstrip)
            p += skip_space(p, end) - p;
    }
}

static void encode(struct bpe_worker *w, const char *text, size_t len, struct bpe_dropout *dropout, struct ints *ids)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + len, *at;
    for (;;) {
        const struct bpe_added *added = find_added(w->bpe, false, p, end, &at);
        size_t before = (size_t)(at - p);
        encode_plain(w, p, added && added->lstrip ? trimmed(p, before) : before, dropout, ids);
        if (!added)
            return;
        add_id(ids, added->id);
        p = at + added->match.len;
        if (added->rstrip)
            p = skip_space(p, end);
    }
}

void bpe_encode(struct bpe_worker *w, const char *text, size_t len, struct ints *ids)
{
    encode(w, text, len, NULL, ids);
}

void bpe_encode_dropout(struct bpe_worker *w, const char *text, size_t len, float p, uint64_t key, uint64_t hi,
                        struct ints *ids)
{
    struct bpe_dropout dropout = {.p = p, .key = key, .hi = hi};
    encode(w, text, len, &dropout, ids);
}

/* Appends the bytes of a token. One with a character outside the alphabet stands for itself. */
static void append_token(struct buf *out, const char *token)
{
    const unsigned char *text = (const unsigned char *)token;
    size_t len = strlen(token), start = out->len;
    buf_reserve(out, len);
    for (size_t i = 0; i < len;) {
        uint32_t c;
        i += bpe_utf8_next(text + i, len - i, &c);
        int byte = bpe_char_byte(c);
        if (byte < 0) {
            out->len = start;
            buf_append(out, token, len);
            return;
        }
        out->data[out->len++] = (unsigned char)byte;
    }
}

void bpe_decode(const struct bpe *b, const int32_t *ids, size_t n, struct buf *text)
{
    struct buf bytes = {0};
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= b->vocab || !b->tokens[ids[i]]) {
            buf_append(&bytes, "\xEF\xBF\xBD", 3);
            continue;
        }
        append_token(&bytes, b->tokens[ids[i]]);
        if (b->pattern == BPE_CLIP && bytes.len >= 4 && !memcmp(bytes.data + bytes.len - 4, "</w>", 4)) {
            bytes.len -= 4;
            buf_append(&bytes, " ", 1);
        }
    }
    if (b->pattern == BPE_CLIP && bytes.len > 0 && bytes.data[bytes.len - 1] == ' ')
        bytes.len--;
    bpe_normalise(text, bytes.data, bytes.len, false, false);
    buf_free(&bytes);
}
