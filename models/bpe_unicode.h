/*
 * Unicode as Hugging Face's `tokenizers` sees it: which characters are letters, numbers and white space for the
 * patterns, what lower-casing and NFC do. Characters come from libutf8proc (Unicode 15); the peer's parts follow other
 * versions (its patterns 16, its lower-casing 17, its NFC 9), and bpe_unicode.c lists where that makes a difference.
 */
#ifndef ATELIER_MODELS_BPE_UNICODE_H
#define ATELIER_MODELS_BPE_UNICODE_H

#include "common/mem.h"
#include <stdint.h>

enum bpe_class { BPE_OTHER, BPE_LETTER, BPE_NUMBER, BPE_SPACE };

enum bpe_class bpe_class(uint32_t c);

/* One character for one, but for U+0130, whose lower case is "i" and U+0307: that gives "i", and the caller adds it. */
uint32_t bpe_lower(uint32_t c);

/* The character at the start of `len` > 0 bytes and how many bytes it takes. Bytes that are no UTF-8 give U+FFFD, one
 * for each longest start of a character, as Python's bytes.decode("utf-8", "replace") does. */
size_t bpe_utf8_next(const unsigned char *p, size_t len, uint32_t *c);
/* Writes it to `out` (room for 4 bytes); returns the bytes written. */
size_t bpe_utf8_put(uint32_t c, unsigned char *out);

/* Appends the text, which must be valid UTF-8, in normalisation form C. Its time is n log n for any text. */
void bpe_nfc(struct buf *out, const unsigned char *text, size_t len);

#endif
