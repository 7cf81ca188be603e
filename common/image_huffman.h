/*
 * JPEG's entropy-coded data: a reader of bits and Huffman tables. Inline, for a picture's time goes here.
 * Only image_scans.c includes it.
 */
#ifndef ATELIER_COMMON_IMAGE_HUFFMAN_H
#define ATELIER_COMMON_IMAGE_HUFFMAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { HUFFMAN_LOOK = 10 }; /* bits looked at at once */

/* A code that fits: its length, the length with the number behind, and both halves of its symbol. length 0: none. */
struct huffman_entry {
    uint8_t length, both, run, size;
};

struct huffman {
    bool given;
    struct huffman_entry entry[1 << HUFFMAN_LOOK];
    uint32_t end[17];  /* by length: the first code beyond, in 16 bits */
    int32_t shift[17]; /* by length: what to add to a code for its symbol's place */
    uint8_t symbol[256];
};

/* counts[1 .. 16]: codes of each length; `symbols` in the order of their codes. False: no such table. */
bool huffman_build(struct huffman *h, const uint8_t counts[17], const uint8_t symbols[256]);

/* Of a segment between markers, without its stuffing (0 after 0xFF) and with BITS_PADDING zeros behind. Functions take
 * it by a pointer to a local copy, so that it lives in registers. */
struct bits {
    const uint8_t *at, *end; /* `at` may pass the end, into the padding */
    uint64_t hold;           /* the next bits, the first one on top */
    int count;               /* how many of them are known */
};

enum { BITS_PADDING = 16 };

#define BITS_INLINE static inline __attribute__((always_inline))

/* At least 56 bits are known afterwards. */
BITS_INLINE void bits_fill(struct bits *b)
{
    uint64_t next;
    memcpy(&next, b->at, sizeof next);
    b->hold |= __builtin_bswap64(next) >> b->count;
    b->at += (63 - b->count) >> 3;
    b->at = b->at < b->end + 8 ? b->at : b->end + 8;
    b->count |= 56;
}

/* Bits of the segment that are left; less than 0 when more were taken than there are. */
BITS_INLINE long bits_left(const struct bits *b)
{
    return (long)(b->end - b->at) * 8 + b->count;
}

BITS_INLINE void bits_drop(struct bits *b, int n)
{
    b->hold <<= n;
    b->count -= n;
}

BITS_INLINE unsigned bits_take(struct bits *b, int n) /* 1 .. 32, filled before */
{
    unsigned v = (unsigned)(b->hold >> (64 - n));
    bits_drop(b, n);
    return v;
}

/* The next code, whose number of `size` bits follows; filled before. length 0: no such code. */
BITS_INLINE struct huffman_entry huffman_code(const struct bits *b, const struct huffman *h)
{
    struct huffman_entry e = h->entry[b->hold >> (64 - HUFFMAN_LOOK)];
    if (e.length > 0)
        return e;
    uint32_t code = (uint32_t)(b->hold >> 48);
    for (int length = HUFFMAN_LOOK + 1; length <= 16; length++)
        if (code < h->end[length]) {
            int symbol = h->symbol[((int32_t)(code >> (16 - length)) + h->shift[length]) & 0xFF];
            return (struct huffman_entry){(uint8_t)length, (uint8_t)(length + (symbol & 15)), (uint8_t)(symbol >> 4),
                                          symbol & 15};
        }
    return e;
}

/* Takes a code and its number: the upper half of what `size` bits can say is positive, the lower negative (T.81,
 * figure F.12). Not for a size of 0. */
BITS_INLINE int huffman_number(struct bits *b, struct huffman_entry e)
{
    uint64_t rest = b->hold << e.length;
    bits_drop(b, e.both);
    int negative = -(int)(~rest >> 63);
    return (int)(rest >> (64 - e.size)) - (negative & ((1 << e.size) - 1));
}

#endif
