/*
 * Unicode as Hugging Face's `tokenizers` sees it (bpe_unicode.h). The lists below were found by comparing every code
 * point with tokenizers 0.23; tests/unit/models/test_bpe_unicode.c holds sums over all of them.
 */
#include "models/bpe_unicode.h"
#include <stdbool.h>
#include <stdlib.h>
#include <utf8proc.h>

struct range {
    uint32_t first, last;
};

struct shift {
    uint32_t first, last;
    int32_t to_lower;
};

/* Unicode 16 against 15. */
static const struct range new_letters[] = {
    {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3}, {0x10D4A, 0x10D65},
    {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x11380, 0x11389}, {0x1138B, 0x1138B}, {0x1138E, 0x1138E},
    {0x11390, 0x113B5}, {0x113B7, 0x113B7}, {0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0},
    {0x13460, 0x143FA}, {0x16100, 0x1611D}, {0x16D40, 0x16D6C}, {0x18CFF, 0x18CFF}, {0x1E5D0, 0x1E5ED},
    {0x1E5F0, 0x1E5F0}, {0x2EBF0, 0x2EE5D}};
static const struct range new_numbers[] = {{0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9},
                                           {0x16130, 0x16139}, {0x16D70, 0x16D79}, {0x1CCF0, 0x1CCF9},
                                           {0x1E5F1, 0x1E5FA}};
/* Unicode 17 against 15. */
static const struct shift new_capitals[] = {{0x1C89, 0x1C89, 1},   {0xA7CB, 0xA7CB, -42343}, {0xA7CC, 0xA7CC, 1},
                                            {0xA7CE, 0xA7CE, 1},   {0xA7D2, 0xA7D2, 1},      {0xA7D4, 0xA7D4, 1},
                                            {0xA7DA, 0xA7DA, 1},   {0xA7DC, 0xA7DC, -42561}, {0x10D50, 0x10D65, 32},
                                            {0x16EA0, 0x16EB8, 27}};
/* Characters newer than Unicode 9 that NFC would move or compose: the peer's NFC does not know them. */
static const struct range not_normalised[] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},     {0xC3C, 0xC3C},
    {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},   {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},
    {0xA82C, 0xA82C},   {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50},
    {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
    {0x11930, 0x11930}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34},
    {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97},
    {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE},
    {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static bool in_ranges(const struct range *list, size_t count, uint32_t c)
{
    for (size_t i = 0; i < count && c >= list[i].first; i++) /* in order */
        if (c <= list[i].last)
            return true;
    return false;
}

static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
           c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

enum bpe_class bpe_class(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return BPE_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return BPE_NUMBER;
    case UTF8PROC_CATEGORY_CN:
        if (in_ranges(new_letters, COUNT(new_letters), c))
            return BPE_LETTER;
        return in_ranges(new_numbers, COUNT(new_numbers), c) ? BPE_NUMBER : BPE_OTHER;
    default:
        return is_space(c) ? BPE_SPACE : BPE_OTHER;
    }
}

uint32_t bpe_lower(uint32_t c)
{
    if (utf8proc_category((utf8proc_int32_t)c) != UTF8PROC_CATEGORY_CN)
        return (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
    for (size_t i = 0; i < COUNT(new_capitals); i++)
        if (c >= new_capitals[i].first && c <= new_capitals[i].last)
            return (uint32_t)((int32_t)c + new_capitals[i].to_lower);
    return c;
}

size_t bpe_utf8_next(const unsigned char *p, size_t len, uint32_t *c)
{
    unsigned lead = p[0];
    *c = lead;
    if (lead < 0x80)
        return 1;
    /* The second byte's range rules out overlong forms, surrogates and what is past U+10FFFF. */
    size_t need = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
    unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    *c = 0xFFFD;
    if (lead < 0xC2 || lead > 0xF4)
        return 1;
    uint32_t value = lead & (0x3Fu >> need);
    for (size_t i = 1; i <= need; i++) {
        if (i >= len || p[i] < low || p[i] > high)
            return i;
        value = value << 6 | (p[i] & 0x3F);
        low = 0x80;
        high = 0xBF;
    }
    *c = value;
    return need + 1;
}

size_t bpe_utf8_put(uint32_t c, unsigned char *out)
{
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)c, out);
}

struct mark {
    utf8proc_int32_t c;
    int combining_class;
    size_t order;
};

static int compare_marks(const void *a, const void *b)
{
    const struct mark *x = a, *y = b;
    if (x->combining_class != y->combining_class)
        return x->combining_class < y->combining_class ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* Canonical ordering: each run of marks sorted by combining class, equal ones in their order. libutf8proc's own takes
 * quadratic time. */
static void order_marks(utf8proc_int32_t *c, size_t count)
{
    struct mark *run = NULL;
    size_t cap = 0;
    for (size_t i = 0; i < count;) {
        size_t n = 0;
        while (i + n < count) {
            int class = utf8proc_get_property(c[i + n])->combining_class;
            if (class == 0)
                break;
            if (n == cap)
                run = xrealloc(run, (cap = 2 * cap + 8) * sizeof(*run));
            run[n] = (struct mark){c[i + n], class, n};
            n++;
        }
        if (n > 1) {
            qsort(run, n, sizeof(*run), compare_marks);
            for (size_t k = 0; k < n; k++)
                c[i + k] = run[k].c;
        }
        i += n + 1;
    }
    free(run);
}

/* Normalises the `count` characters that were decomposed into `c` and appends them. */
static void compose(struct buf *out, utf8proc_int32_t *c, size_t count)
{
    if (count == 0)
        return;
    order_marks(c, count);
    utf8proc_ssize_t n = utf8proc_normalize_utf32(c, (utf8proc_ssize_t)count, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    buf_reserve(out, 4 * (size_t)n);
    for (utf8proc_ssize_t i = 0; i < n; i++)
        out->len += bpe_utf8_put((uint32_t)c[i], out->data + out->len);
}

void bpe_nfc(struct buf *out, const unsigned char *text, size_t len)
{
    enum { LONGEST = 4 }; /* characters of the longest canonical decomposition */
    utf8proc_int32_t *c = NULL;
    size_t count = 0, cap = 0;
    for (size_t i = 0; i < len;) {
        uint32_t next;
        i += bpe_utf8_next(text + i, len - i, &next);
        if (in_ranges(not_normalised, COUNT(not_normalised), next)) {
            compose(out, c, count);
            count = 0;
            buf_reserve(out, 4);
            out->len += bpe_utf8_put(next, out->data + out->len);
            continue;
        }
        if (cap - count < LONGEST)
            c = xrealloc(c, (cap = 2 * cap + 64) * sizeof(*c));
        int class;
        count += (size_t)utf8proc_decompose_char((utf8proc_int32_t)next, c + count, (utf8proc_ssize_t)(cap - count),
                                                 UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &class);
    }
    compose(out, c, count);
    free(c);
}
