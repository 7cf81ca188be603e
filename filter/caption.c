/* Cleaning of captions (caption.h): one pass a kind of dirt, and none over the many captions that have none. */
#include "filter/caption.h"
#include "common/utf8.h"
#include "filter/words.h"
#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define ENTITY_LIMIT 32 /* bytes of the longest name */

/* Printable ASCII in single spaces, nothing to decode. */
static bool is_clean(const char *text, size_t len)
{
    bool space = true;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < ' ' || c > '~' || c == '&' || c == '<' || c == '%' || c == '+' || (c == ' ' && space))
            return false;
        space = c == ' ';
    }
    return len == 0 || !space;
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

static bool is_escape(const char *p, size_t left)
{
    return left > 2 && *p == '%' && hex(p[1]) >= 0 && hex(p[2]) >= 0;
}

/* Decodes one run without white space, unless that gives no UTF-8: "100%de" was no URL-encoding. */
static void unescape_run(const char *p, size_t len, bool plus, struct buf *out)
{
    size_t start = out->len;
    buf_reserve(out, len);
    for (size_t i = 0; i < len; i++) {
        char c = p[i];
        if (is_escape(p + i, len - i)) {
            c = (char)(hex(p[i + 1]) << 4 | hex(p[i + 2]));
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        out->data[out->len++] = (unsigned char)c;
    }
    if (!utf8_is_valid(out->data + start, out->len - start)) {
        out->len = start;
        buf_append(out, p, len);
    }
}

/* A run with an escape was encoded by a form, so its pluses are spaces; so are those of a text in which several stand
 * between letters or digits, and more than white space does: "Sunset+at+the+sea", or a title and a description joined
 * after they were encoded. */
static void clean_url(const char *text, size_t len, struct buf *out)
{
    size_t inner = 0, white = 0;
    for (size_t i = 0; i < len; i++) {
        white += isspace((unsigned char)text[i]) != 0;
        inner += text[i] == '+' && i > 0 && i + 1 < len && isalnum((unsigned char)text[i - 1]) &&
                 isalnum((unsigned char)text[i + 1]);
    }
    bool encoded = inner > 1 && inner > white;
    for (size_t i = 0, end; i < len; i = end) {
        bool escaped = false;
        for (end = i; end < len && !isspace((unsigned char)text[end]); end++)
            escaped = escaped || is_escape(text + end, len - end);
        if (escaped || encoded)
            unescape_run(text + i, end - i, true, out);
        else
            buf_append(out, text + i, end - i);
        for (; end < len && isspace((unsigned char)text[end]); end++)
            buf_append(out, " ", 1);
    }
}

static unsigned entity_number(const char *p, size_t len)
{
    bool hexadecimal = len > 1 && (p[0] | 32) == 'x';
    unsigned value = 0;
    for (size_t i = hexadecimal; i < len; i++) {
        int digit = hex(p[i]);
        if (digit < 0 || (!hexadecimal && digit > 9) || value > 0x10FFFF)
            return 0;
        value = value * (hexadecimal ? 16 : 10) + (unsigned)digit;
    }
    return utf8proc_codepoint_valid((utf8proc_int32_t)value) ? value : 0;
}

static void clean_entities(const char *text, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len;) {
        const char *amp = memchr(text + i, '&', len - i);
        size_t plain = amp ? (size_t)(amp - text) - i : len - i;
        buf_append(out, text + i, plain);
        i += plain;
        if (!amp)
            break;
        size_t limit = len - i < ENTITY_LIMIT ? len - i : ENTITY_LIMIT;
        const char *end = memchr(amp, ';', limit);
        size_t name = end ? (size_t)(end - amp) - 1 : 0;
        unsigned c = name == 0 ? 0 : amp[1] == '#' ? entity_number(amp + 2, name - 1) : entity_named(amp + 1, name);
        if (c == 0) {
            buf_append(out, "&", 1);
            i++;
            continue;
        }
        utf8proc_uint8_t bytes[4];
        buf_append(out, bytes, (size_t)utf8proc_encode_char((utf8proc_int32_t)c, bytes));
        i += name + 2;
    }
}

/* A tag: '<', then a letter, '/' or '!', up to the first '>' with no '<' between. "<3" and "a < b" are none. */
static size_t tag_length(const char *p, size_t left)
{
    if (left < 3 || !(isalpha((unsigned char)p[1]) || p[1] == '/' || p[1] == '!'))
        return 0;
    for (size_t i = 1; i < left && p[i] != '<'; i++)
        if (p[i] == '>')
            return i + 1;
    return 0;
}

static void clean_markup(const char *text, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len;) {
        const char *open = memchr(text + i, '<', len - i);
        size_t plain = open ? (size_t)(open - text) - i : len - i;
        buf_append(out, text + i, plain);
        i += plain;
        if (!open)
            break;
        size_t tag = tag_length(open, len - i);
        buf_append(out, tag ? " " : "<", 1);
        i += tag ? tag : 1;
    }
}

/* Characters that are seen by no one: soft hyphen, zero-width space, word joiner, byte order mark. */
static bool is_invisible(uint32_t c)
{
    return c == 0xAD || c == 0x200B || c == 0x2060 || c == 0xFEFF;
}

static bool is_space(uint32_t c)
{
    if (c < 0x80)
        return c <= ' ' || c == 0x7F;
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_CC || (k >= UTF8PROC_CATEGORY_ZS && k <= UTF8PROC_CATEGORY_ZP);
}

static void clean_spaces(const char *text, size_t len, struct buf *out)
{
    bool pending = false;
    int bytes;
    for (size_t i = 0; i < len; i += (size_t)bytes) {
        uint32_t c = words_char(text + i, len - i, &bytes);
        if (is_invisible(c))
            continue;
        if (is_space(c)) {
            pending = out->len > 0;
            continue;
        }
        if (pending)
            buf_append(out, " ", 1);
        pending = false;
        buf_append(out, text + i, (size_t)bytes);
    }
}

static void clean_form(const char *text, size_t len, struct buf *out)
{
    utf8proc_uint8_t *form = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &form,
                                      UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
    if (n < 0)
        buf_append(out, text, len);
    else
        buf_append(out, form, (size_t)n);
    free(form);
}

void caption_clean(const char *text, size_t len, struct buf *out)
{
    out->len = 0;
    if (is_clean(text, len)) {
        buf_append(out, text, len);
        return;
    }
    struct buf a = {0}, b = {0};
    utf8_append_valid(&a, text, len);
    void (*const passes[])(const char *, size_t, struct buf *) = {clean_url, clean_entities, clean_markup, clean_form};
    for (size_t i = 0; i < sizeof passes / sizeof *passes; i++) {
        struct buf swap = a;
        b.len = 0;
        passes[i](a.len ? (const char *)a.data : "", a.len, &b);
        a = b;
        b = swap;
    }
    clean_spaces(a.len ? (const char *)a.data : "", a.len, out);
    buf_free(&a);
    buf_free(&b);
}
