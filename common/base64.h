/*
 * Base64 with padding (RFC 4648, 4): bytes within JSON.
 */
#ifndef ATELIER_COMMON_BASE64_H
#define ATELIER_COMMON_BASE64_H

#include "common/mem.h"

void base64_encode(const void *data, size_t len, struct buf *out); /* appends */

/* Appends the bytes that `text` stands for. 0, or -1 (ERR_DATA) on any other character or a wrong length. */
int base64_decode(const char *text, size_t len, struct buf *out);

#endif
