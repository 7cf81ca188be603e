/*
 * A caption as the rules see it: one line of NFKC text, without what browsers, forms and markup leave in it.
 */
#ifndef ATELIER_FILTER_CAPTION_H
#define ATELIER_FILTER_CAPTION_H

#include "common/mem.h"

/* Replaces `out` by the cleaned text of `len` bytes, always valid UTF-8. In this order: URL-encoding ("at+the%20sea"),
 * character entities ("&amp;", "&#233;"), markup (a tag becomes a space), NFKC, invisible characters, and white space,
 * of which single spaces are left, none at the ends. Bytes that are no UTF-8 become U+FFFD. */
void caption_clean(const char *text, size_t len, struct buf *out);

/* The character that an entity names (without & and ;), 0: none. */
unsigned entity_named(const char *name, size_t len);

#endif
