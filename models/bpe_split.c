/*
 * From text to words (bpe_split.h).
 */
#include "models/bpe_split.h"
#include "models/bpe_unicode.h"
#include <string.h>

/* Classes of ASCII; HIGH: a character of several bytes. */
enum { O = BPE_OTHER, L = BPE_LETTER, N = BPE_NUMBER, S = BPE_SPACE, HIGH };
static const unsigned char classes[256] = {
    ['\t'] = S, [11] = S,          ['\n'] = S,        ['\f'] = S,        ['\r'] = S,
    [' '] = S,  ['0' ... '9'] = N, ['A' ... 'Z'] = L, ['a' ... 'z'] = L, [128 ... 255] = HIGH};

/* Lower-cases or copies the ASCII at the start of the text, a block at a time so that it is done in vector registers;
 * returns the length done. `out` has room for `len`. */
static size_t ascii_prefix(unsigned char *restrict out, const unsigned char *restrict text, size_t len, bool lower)
{
    enum { BLOCK = 32 };
    unsigned char range = lower ? 26 : 0;
    size_t i = 0;
    for (; i + BLOCK <= len; i += BLOCK) {
        unsigned char high = 0;
        for (int k = 0; k < BLOCK; k++)
            high |= text[i + k];
        if (high & 0x80)
            break;
        for (int k = 0; k < BLOCK; k++) {
            unsigned char c = text[i + k];
            out[i + k] = c + ((unsigned char)(c - 'A') < range ? 32 : 0);
        }
    }
    for (; i < len && text[i] < 0x80; i++)
        out[i] = text[i] + ((unsigned char)(text[i] - 'A') < range ? 32 : 0);
    return i;
}

/* Appends one character, replaced or lower-cased; returns the bytes read. */
static size_t put_character(struct buf *out, const unsigned char *text, size_t len, bool lower)
{
    uint32_t c;
    size_t used = bpe_utf8_next(text, len, &c);
    unsigned char bytes[4];
    size_t n = bpe_utf8_put(lower ? bpe_lower(c) : c, bytes);
    buf_append(out, bytes, n);
    if (lower && c == 0x130)
        buf_append(out, "\xCC\x87", 2); /* U+0307, combining dot above */
    return used;
}

static void append_cased(struct buf *out, const unsigned char *text, size_t len, bool lower)
{
    for (size_t i = 0; i < len;) {
        buf_reserve(out, len - i);
        size_t n = ascii_prefix(out->data + out->len, text + i, len - i, lower);
        out->len += n;
        i += n;
        while (i < len && text[i] >= 0x80)
            i += put_character(out, text + i, len - i, lower);
    }
}

/* All characters below U+0300 are in form C, alone and beside each other. */
static bool needs_nfc(const unsigned char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] >= 0xCC)
            return true;
    return false;
}

void bpe_normalise(struct buf *out, const unsigned char *text, size_t len, bool nfc, bool lower)
{
    if (nfc && needs_nfc(text, len)) {
        struct buf composed = {0};
        bpe_nfc(&composed, text, len);
        append_cased(out, composed.data, composed.len, lower);
        buf_free(&composed);
    } else {
        append_cased(out, text, len, lower);
    }
    buf_reserve(out, BPE_SLACK);
}

/* Class of the character at p < end and its length in bytes. */
static inline int class_at(const unsigned char *p, const unsigned char *end, size_t *bytes)
{
    int class = classes[*p];
    *bytes = 1;
    if (class != HIGH)
        return class;
    uint32_t c;
    *bytes = bpe_utf8_next(p, (size_t)(end - p), &c);
    return (int)bpe_class(c);
}

/* Behind the longest run of `class` from p on. */
static inline const unsigned char *run_end(const unsigned char *p, const unsigned char *end, int class)
{
    while (p < end) {
        size_t bytes = 1;
        int c = classes[*p];
        if (c == HIGH)
            c = class_at(p, end, &bytes);
        if (c != class)
            break;
        p += bytes;
    }
    return p;
}

/* Length of 's 't 're 've 'm 'll 'd at p, which holds an apostrophe; 0: none of them. */
static size_t contraction(const unsigned char *p, const unsigned char *end)
{
    if (end - p < 2)
        return 0;
    if (p[1] == 's' || p[1] == 't' || p[1] == 'm' || p[1] == 'd')
        return 2;
    if (end - p < 3)
        return 0;
    return !memcmp(p + 1, "re", 2) || !memcmp(p + 1, "ve", 2) || !memcmp(p + 1, "ll", 2) ? 3 : 0;
}

/* Behind a run of white space by \s+(?!\S)|\s+ : its last character is left to what follows, unless it is alone. */
static const unsigned char *space_end(const unsigned char *p, const unsigned char *end)
{
    const unsigned char *start = p, *last = p;
    while (p < end) {
        size_t bytes;
        if (class_at(p, end, &bytes) != S)
            break;
        last = p;
        p += bytes;
    }
    return p == end || last == start ? p : last;
}

static inline const unsigned char *gpt2_end(const unsigned char *p, const unsigned char *end)
{
    if (*p == '\'') {
        size_t n = contraction(p, end);
        if (n > 0)
            return p + n;
    }
    size_t bytes;
    const unsigned char *q = p + (*p == ' ' && p + 1 < end);
    int class = class_at(q, end, &bytes);
    return class == S ? space_end(p, end) : run_end(q + bytes, end, class);
}

/* The same contractions in any case, where the long s (U+017F) is an s. */
static size_t caseless_contraction(const unsigned char *p, const unsigned char *end)
{
    if (end - p >= 3 && p[1] == 0xC5 && p[2] == 0xBF)
        return 3;
    unsigned char lower[3] = "'";
    size_t n = end - p < 3 ? (size_t)(end - p) : 3;
    for (size_t i = 1; i < n; i++)
        lower[i] = (unsigned char)(p[i] - 'A') < 26 ? p[i] | 32 : p[i];
    return contraction(lower, lower + n);
}

/* Behind white space by \s*[\r\n]+|\s+(?!\S)|\s+ */
static const unsigned char *line_end(const unsigned char *p, const unsigned char *end)
{
    const unsigned char *space = run_end(p, end, S), *last = space;
    while (last > p && last[-1] != '\r' && last[-1] != '\n')
        last--;
    return last > p ? last : space_end(p, end);
}

static const unsigned char *gpt4_end(const unsigned char *p, const unsigned char *end, int digits)
{
    size_t n = *p == '\'' ? caseless_contraction(p, end) : 0, bytes, next;
    if (n > 0)
        return p + n;
    int class = class_at(p, end, &bytes);
    if (class == L)
        return run_end(p, end, L);
    if (class == N) {
        for (int i = 0; i < digits && p < end && class_at(p, end, &bytes) == N; i++)
            p += bytes;
        return p;
    }
    bool newline = *p == '\r' || *p == '\n';
    int second = p + bytes < end ? class_at(p + bytes, end, &next) : S;
    if (!newline && second == L)
        return run_end(p + bytes, end, L);
    if (class == S && (*p != ' ' || second != O))
        return line_end(p, end);
    p = run_end(class == S ? p + 1 : p, end, O);
    while (p < end && (*p == '\r' || *p == '\n'))
        p++;
    return p;
}

static inline const unsigned char *clip_end(const unsigned char *p, const unsigned char *end)
{
    if (*p == '\'') {
        size_t n = contraction(p, end);
        if (n > 0)
            return p + n;
    }
    size_t bytes;
    int class = class_at(p, end, &bytes);
    return class == N ? p + bytes : run_end(p + bytes, end, class);
}

const unsigned char *bpe_next_word(enum bpe_pattern pattern, const unsigned char **p, const unsigned char *end,
                                   size_t *len)
{
    const unsigned char *word = *p;
    if (pattern == BPE_CLIP)
        word = run_end(word, end, S);
    if (word == end)
        return NULL;
    switch (pattern) {
    case BPE_GPT2:
        *p = gpt2_end(word, end);
        break;
    case BPE_CLIP:
        *p = clip_end(word, end);
        break;
    case BPE_WHOLE:
        *p = end;
        break;
    default:
        *p = gpt4_end(word, end, pattern == BPE_GPT4 ? 3 : 1);
    }
    *len = (size_t)(*p - word);
    return word;
}
