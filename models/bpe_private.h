/*
 * A vocabulary in memory, shared by the files that read, train and use one. Tokens are kept as tokenizer.json writes
 * them: each byte is a printable character of GPT-2's alphabet ("Ġ" is a space), and CLIP's "</w>" ends a word.
 */
#ifndef ATELIER_MODELS_BPE_PRIVATE_H
#define ATELIER_MODELS_BPE_PRIVATE_H

#include "common/random.h"
#include "models/bpe.h"
#include "models/bpe_split.h"

#define BPE_NO_RANK UINT32_MAX
#define BPE_CLIP_START "<|startoftext|>"
#define BPE_CLIP_END "<|endoftext|>"

struct bpe_merge {
    int32_t left, right, id;
};

struct bpe_rule {  /* a slot of the hash table of merges */
    uint64_t pair; /* left << 32 | right; all ones: an empty slot */
    uint32_t rank;
    int32_t id;
};

struct bpe_added { /* a token that is found in the text as it stands */
    int32_t id;
    bool normalised; /* found in the normalised text instead, normalised itself */
    bool special;
    bool lstrip, rstrip; /* takes the white space before and behind it along */
    bool own;            /* in no other list than this */
    struct buf match;
};

struct bpe {
    enum bpe_pattern pattern;
    bool nfc, lower, prefix_space, ignore_merges;
    char **tokens; /* [vocab]; NULL: the id is not used */
    int vocab;
    size_t tokens_cap;
    int32_t *index; /* hash table of tokens by text: ids, -1: empty */
    size_t index_size, indexed;
    struct bpe_merge *merges; /* by rank */
    size_t merge_count;
    struct bpe_rule *rules;
    size_t rule_mask;
    char *unk;
    int32_t first[256], last[256]; /* a byte inside a word and at its end (they differ for CLIP); -1: left out */
    struct bpe_added *added;
    int added_count;
    bool added_starts[2][256]; /* [normalised][byte]: an added token starts with it */
    int32_t clip_start, clip_end;
};

struct bpe *bpe_new(void);
/* Gives `text` the `id`. -1 when either is taken. */
int bpe_add_token(struct bpe *b, const char *text, int32_t id);
int32_t bpe_find_token(const struct bpe *b, const char *text, size_t len); /* -1: none */
void bpe_add_alphabet(struct bpe *b, const char *suffix); /* the 256 bytes, each with the suffix, as the next ids */
/* Takes `merges` (malloc'ed) and makes it ready to encode. Of a pair that is listed twice the later place counts, as in
 * Hugging Face's. */
void bpe_finish(struct bpe *b, struct bpe_merge *merges, size_t count);

/* The slot of a pair, or the empty one (rank BPE_NO_RANK) where it belongs. */
static inline struct bpe_rule *bpe_rule_slot(const struct bpe *b, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | (uint32_t)right;
    size_t slot = (pair * 0x9E3779B97F4A7C15u) >> 32 & b->rule_mask;
    while (b->rules[slot].pair != pair && b->rules[slot].rank != BPE_NO_RANK)
        slot = (slot + 1) & b->rule_mask;
    return &b->rules[slot];
}

/* The byte that a character of GPT-2's alphabet stands for; -1: it is none. */
int bpe_char_byte(uint32_t c);
/* Appends bytes as characters of the alphabet. */
void bpe_append_alphabet(struct buf *out, const unsigned char *bytes, size_t len);
/* Adds to b->added, with `content`, normalised where that is asked for, as what is found. */
void bpe_add_added(struct bpe *b, const char *content, struct bpe_added added);

int bpe_read_json(struct bpe *b, const char *text, size_t len);
int bpe_read_clip(struct bpe *b, const char *text, size_t len);

struct bpe_dropout {
    float p;
    uint64_t key, hi, drawn;
    struct random4 words;
};

struct bpe_scratch { /* of bpe_merge_word, for long words; zero-initialise */
    struct bpe_symbol *symbols;
    uint64_t *heap, *left_out;
    size_t cap, heap_cap, left_cap;
};
void bpe_scratch_free(struct bpe_scratch *s);
/* Merges one word; writes at most `len` ids and returns how many. `dropout`: NULL for none. */
size_t bpe_merge_word(const struct bpe *b, struct bpe_scratch *s, const unsigned char *word, size_t len,
                      struct bpe_dropout *dropout, int32_t *ids);

#endif
