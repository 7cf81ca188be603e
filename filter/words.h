/*
 * Words of a caption as the rules count them: a word is a run without white space that has a letter or a digit of any
 * script. Scripts that write no spaces (Chinese, Japanese, Thai, ...) are counted by letters too.
 */
#ifndef ATELIER_FILTER_WORDS_H
#define ATELIER_FILTER_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint32_t words_wide_char(const char *text, size_t len, int *bytes);
bool words_is_wide_letter(uint32_t c);
bool words_is_wide_digit(uint32_t c);

/* The character at text[0], its length in *bytes (1 and U+FFFD where it is no UTF-8). len > 0. The inline parts serve
 * ASCII, which is nearly all. */
static inline uint32_t words_char(const char *text, size_t len, int *bytes)
{
    *bytes = 1;
    unsigned char c = (unsigned char)*text;
    return c < 0x80 ? c : words_wide_char(text, len, bytes);
}

static inline bool words_is_letter(uint32_t c)
{
    return c < 0x80 ? (c | 32) - 'a' < 26 : words_is_wide_letter(c);
}

static inline bool words_is_digit(uint32_t c)
{
    return c < 0x80 ? c - '0' < 10 : words_is_wide_digit(c);
}

struct word_count {
    size_t words;
    size_t letters; /* of scripts without spaces */
};

/* Adds what the text holds; white space separates words. */
void words_count(struct word_count *count, const char *text, size_t len);

/* Whether so much says enough: `least` words, or one letter more in a script without spaces. */
bool words_enough(const struct word_count *count, size_t least);

#endif
