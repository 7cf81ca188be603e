/*
 * From text to words, ahead of the merges: bad UTF-8 replaced, NFC, lower case, then the split by a well-known pattern,
 * which is matched by hand, ASCII through tables.
 */
#ifndef ATELIER_MODELS_BPE_SPLIT_H
#define ATELIER_MODELS_BPE_SPLIT_H

#include "common/mem.h"
#include <stdbool.h>

enum bpe_pattern {
    BPE_WHOLE, /* the text is one word */
    BPE_GPT2, /* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ : every byte is in a word */
    /* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
       ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
    BPE_GPT4,  /* GPT-4's and Llama 3's */
    BPE_QWEN2, /* the same with \p{N} for \p{N}{1,3} */
    BPE_CLIP,  /* 's|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+ : white space is dropped */
};

#define BPE_SLACK 32 /* bytes behind a normalised text that may be read */

/* Appends the text to `out`, normalised; `out` has BPE_SLACK bytes of room behind it then. */
void bpe_normalise(struct buf *out, const unsigned char *text, size_t len, bool nfc, bool lower);

/* The next word of the normalised text from *p on: its start, and its length in *len; *p moves behind it. NULL at the
 * end. */
const unsigned char *bpe_next_word(enum bpe_pattern pattern, const unsigned char **p, const unsigned char *end,
                                   size_t *len);

#endif
