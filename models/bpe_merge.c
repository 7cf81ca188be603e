/*
 * The merges of one word: always the pair of the lowest rank, the leftmost of equals, until none is left. Short words
 * search all pairs at each step; long ones keep them in a heap, so that a word of a megabyte takes n log n.
 * With dropout a pair that is drawn out waits for the next merge, as in Hugging Face's and the paper's.
 */
#include "models/bpe_private.h"
#include <stdlib.h>
#include <string.h>

enum { SHORT = 48 }; /* symbols; where the search and the heap cost the same */

struct bpe_symbol {
    int32_t id;
    uint32_t next, prev; /* indices; NONE at the ends */
    uint32_t rank;       /* of the merge with the next symbol; BPE_NO_RANK also once merged away */
    int32_t merged;      /* the id that this merge gives */
};
#define NONE UINT32_MAX

void bpe_scratch_free(struct bpe_scratch *s)
{
    free(s->symbols);
    free(s->heap);
    free(s->left_out);
    *s = (struct bpe_scratch){0};
}

/* Whether this application of a merge is left out. */
static bool drawn_out(struct bpe_dropout *d)
{
    unsigned word = d->drawn & 3;
    if (word == 0)
        d->words = random_philox(d->key, d->hi, d->drawn >> 2);
    d->drawn++;
    return random_unit(d->words.v[word]) < d->p;
}

static size_t merge_short(const struct bpe *b, int32_t *ids, size_t n, struct bpe_dropout *dropout)
{
    const struct bpe_rule *next[SHORT]; /* of ids[i] and ids[i + 1] */
    for (size_t i = 0; i + 1 < n; i++)
        next[i] = bpe_rule_slot(b, ids[i], ids[i + 1]);
    uint64_t from = 0; /* candidates, rank << 32 | index, below this one were drawn out */
    while (n > 1) {
        uint64_t best = UINT64_MAX;
        for (size_t i = 0; i + 1 < n; i++) {
            uint64_t candidate = (uint64_t)next[i]->rank << 32 | i;
            if (candidate < best && candidate >= from)
                best = candidate;
        }
        if (best >> 32 == BPE_NO_RANK)
            break;
        if (dropout && drawn_out(dropout)) {
            from = best + 1;
            continue;
        }
        from = 0;
        size_t i = (uint32_t)best;
        ids[i] = next[i]->id;
        n--;
        memmove(ids + i + 1, ids + i + 2, (n - i - 1) * sizeof(*ids));
        if (i + 1 < n) {
            memmove(next + i + 1, next + i + 2, (n - i - 2) * sizeof(const struct bpe_rule *));
            next[i] = bpe_rule_slot(b, ids[i], ids[i + 1]);
        }
        if (i > 0)
            next[i - 1] = bpe_rule_slot(b, ids[i - 1], ids[i]);
    }
    return n;
}

static void heap_push(struct bpe_scratch *s, size_t *count, uint64_t candidate)
{
    if (*count == s->heap_cap)
        s->heap = xrealloc(s->heap, (s->heap_cap = 2 * s->heap_cap + 256) * sizeof(*s->heap));
    size_t i = (*count)++;
    for (; i > 0 && s->heap[(i - 1) / 2] > candidate; i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = candidate;
}

static uint64_t heap_pop(struct bpe_scratch *s, size_t *count)
{
    uint64_t *heap = s->heap, top = heap[0], last = heap[--*count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < *count; i = child) {
        if (child + 1 < *count && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= last)
            break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

/* Looks up the merge of symbol i with the next one and makes it a candidate. */
static void pair_symbol(const struct bpe *b, struct bpe_scratch *s, uint32_t i, size_t *heap_count)
{
    struct bpe_symbol *symbol = &s->symbols[i];
    symbol->rank = BPE_NO_RANK;
    if (symbol->next == NONE)
        return;
    const struct bpe_rule *r = bpe_rule_slot(b, symbol->id, s->symbols[symbol->next].id);
    symbol->rank = r->rank;
    symbol->merged = r->id;
    if (r->rank != BPE_NO_RANK)
        heap_push(s, heap_count, (uint64_t)r->rank << 32 | i);
}

static void merge_symbol(const struct bpe *b, struct bpe_scratch *s, uint32_t i, size_t *heap_count)
{
    struct bpe_symbol *left = &s->symbols[i], *right = &s->symbols[left->next];
    left->id = left->merged;
    left->next = right->next;
    right->rank = BPE_NO_RANK;
    if (left->next != NONE)
        s->symbols[left->next].prev = i;
    pair_symbol(b, s, i, heap_count);
    if (left->prev != NONE)
        pair_symbol(b, s, left->prev, heap_count);
}

static size_t merge_long(const struct bpe *b, struct bpe_scratch *s, int32_t *ids, size_t n,
                         struct bpe_dropout *dropout)
{
    if (s->cap < n) {
        s->cap = n;
        s->symbols = xrealloc(s->symbols, n * sizeof(*s->symbols));
    }
    size_t heap_count = 0, left_count = 0, out = 0;
    for (uint32_t i = 0; i < n; i++)
        s->symbols[i] = (struct bpe_symbol){ids[i], i + 1 < n ? i + 1 : NONE, i > 0 ? i - 1 : NONE, BPE_NO_RANK, -1};
    for (uint32_t i = 0; i < n; i++)
        pair_symbol(b, s, i, &heap_count);
    while (heap_count > 0) {
        uint64_t candidate = heap_pop(s, &heap_count);
        uint32_t i = (uint32_t)candidate;
        if (s->symbols[i].rank != candidate >> 32)
            continue; /* one of the two has been merged otherwise */
        if (dropout && drawn_out(dropout)) {
            if (left_count == s->left_cap)
                s->left_out = xrealloc(s->left_out, (s->left_cap = 2 * s->left_cap + 64) * sizeof(*s->left_out));
            s->left_out[left_count++] = candidate;
            continue;
        }
        merge_symbol(b, s, i, &heap_count);
        while (left_count > 0)
            heap_push(s, &heap_count, s->left_out[--left_count]);
    }
    for (uint32_t i = 0; i != NONE; i = s->symbols[i].next)
        ids[out++] = s->symbols[i].id;
    return out;
}

/* The id of a word that is a token as a whole; -1: it is none. */
static int32_t whole_word(const struct bpe *b, const unsigned char *word, size_t len)
{
    struct buf text = {0};
    bpe_append_alphabet(&text, word, len);
    int32_t id = bpe_find_token(b, (char *)text.data, text.len);
    buf_free(&text);
    return id;
}

size_t bpe_merge_word(const struct bpe *b, struct bpe_scratch *s, const unsigned char *word, size_t len,
                      struct bpe_dropout *dropout, int32_t *ids)
{
    if (b->ignore_merges && !dropout) {
        ids[0] = whole_word(b, word, len);
        if (ids[0] >= 0)
            return 1;
    }
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        int32_t id = i + 1 < len ? b->first[word[i]] : b->last[word[i]];
        if (id >= 0)
            ids[n++] = id;
    }
    return n <= SHORT ? merge_short(b, ids, n, dropout) : merge_long(b, s, ids, n, dropout);
}
