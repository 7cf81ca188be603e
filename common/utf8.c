/*
 * UTF-8 from outside, made safe to show (utf8.h).
 */
#include "common/utf8.h"
#include <utf8proc.h>

/* Bytes of the character at the start, 0 when they are no character. */
static size_t character(const unsigned char *p, size_t len)
{
    utf8proc_int32_t codepoint;
    size_t present = len < 4 ? len : 4; /* a character's bytes; keeps the length inside utf8proc's signed type */
    utf8proc_ssize_t used = utf8proc_iterate(p, (utf8proc_ssize_t)present, &codepoint);
    return used > 0 ? (size_t)used : 0;
}

void utf8_append_valid(struct buf *out, const void *text, size_t len)
{
    const unsigned char *p = text;
    for (size_t i = 0; i < len;) {
        size_t start = i, used = 0;
        while (i < len && (used = character(p + i, len - i)) > 0)
            i += used;
        buf_append(out, p + start, i - start);
        if (i < len) {
            buf_append(out, "\xEF\xBF\xBD", 3);
            i++;
        }
    }
}

bool utf8_is_valid(const void *text, size_t len)
{
    const unsigned char *p = text;
    for (size_t i = 0; i < len;) {
        size_t used = character(p + i, len - i);
        if (used == 0)
            return false;
        i += used;
    }
    return true;
}

size_t utf8_cut(const void *text, size_t len, size_t limit)
{
    const unsigned char *p = text;
    if (len <= limit)
        return len;
    size_t cut = limit;
    while (cut > 0 && limit - cut < 3 && (p[cut] & 0xC0) == 0x80)
        cut--;
    return (p[cut] & 0xC0) == 0x80 ? limit : cut;
}
