/*
 * UTF-8 from outside, made safe to show.
 */
#ifndef ATELIER_COMMON_UTF8_H
#define ATELIER_COMMON_UTF8_H

#include "common/mem.h"
#include <stdbool.h>

/* Appends the text with U+FFFD in place of each byte that is no part of valid UTF-8. */
void utf8_append_valid(struct buf *out, const void *text, size_t len);

bool utf8_is_valid(const void *text, size_t len);

/* The longest length of at most `limit` bytes that splits no character. */
size_t utf8_cut(const void *text, size_t len, size_t limit);

#endif
