/*
 * Base64 with padding (base64.h).
 */
#include "common/base64.h"
#include "common/err.h"
#include <stdint.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const void *data, size_t len, struct buf *out)
{
    const unsigned char *p = data;
    buf_reserve(out, (len + 2) / 3 * 4);
    unsigned char *to = out->data + out->len;
    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        uint32_t group = (uint32_t)p[i] << 16;
        if (left > 1)
            group |= (uint32_t)p[i + 1] << 8;
        if (left > 2)
            group |= p[i + 2];
        *to++ = (unsigned char)digits[group >> 18];
        *to++ = (unsigned char)digits[group >> 12 & 63];
        *to++ = left > 1 ? (unsigned char)digits[group >> 6 & 63] : '=';
        *to++ = left > 2 ? (unsigned char)digits[group & 63] : '=';
    }
    out->len += (len + 2) / 3 * 4;
}

static int value(char digit)
{
    if (digit >= 'A' && digit <= 'Z')
        return digit - 'A';
    if (digit >= 'a' && digit <= 'z')
        return digit - 'a' + 26;
    if (digit >= '0' && digit <= '9')
        return digit - '0' + 52;
    return digit == '+' ? 62 : digit == '/' ? 63 : -1;
}

int base64_decode(const char *text, size_t len, struct buf *out)
{
    if (len % 4 != 0)
        return err_set(ERR_DATA, "base64: %zu characters, not a multiple of 4", len);
    size_t padding = 0;
    while (padding < 2 && padding < len && text[len - 1 - padding] == '=')
        padding++;
    size_t start = out->len;
    buf_reserve(out, len / 4 * 3);
    for (size_t i = 0; i < len; i += 4) {
        uint32_t group = 0;
        for (size_t k = i; k < i + 4; k++) {
            int v = k < len - padding ? value(text[k]) : 0;
            if (v < 0) {
                out->len = start;
                return err_set(ERR_DATA, "base64: byte %zu is none of its characters", k);
            }
            group = group << 6 | (uint32_t)v;
        }
        out->data[out->len++] = (unsigned char)(group >> 16);
        out->data[out->len++] = (unsigned char)(group >> 8);
        out->data[out->len++] = (unsigned char)group;
    }
    out->len -= padding;
    return 0;
}
