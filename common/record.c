/*
 * Records in memory: the field table and what changes a record (record.h). The wire: record_wire.c; JSON:
 * record_json.c.
 */
#include "common/record.h"
#include "common/err.h"
#include "common/utf8.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CUT_CAPTION_BYTES 200 /* what a tombstone keeps of a caption that was too long */

const struct field_info record_fields[FIELD_COUNT] = {
    [FIELD_ID] = {"id", TYPE_U64, offsetof(struct record, id), 0},
    [FIELD_KEY] = {"key", TYPE_STRING, offsetof(struct record, key), 4096},
    [FIELD_CAPTION] = {"caption", TYPE_STRING, offsetof(struct record, caption), 1 << 20},
    [FIELD_IMAGE] = {"image", TYPE_BYTES, offsetof(struct record, image), 256 << 20},
    [FIELD_WIDTH] = {"width", TYPE_U32, offsetof(struct record, width), 0},
    [FIELD_HEIGHT] = {"height", TYPE_U32, offsetof(struct record, height), 0},
    [FIELD_TOKENS] = {"tokens", TYPE_INTS, offsetof(struct record, tokens), 1 << 20},
    [FIELD_CUT] = {"cut", TYPE_U32, offsetof(struct record, cut), 0},
    [FIELD_CODES] = {"codes", TYPE_INTS, offsetof(struct record, codes), 16 << 20},
    [FIELD_GRID] = {"grid", TYPE_U32, offsetof(struct record, grid), 0},
    [FIELD_CANDIDATE] = {"candidate", TYPE_U32, offsetof(struct record, candidate), 0},
    [FIELD_SEED] = {"seed", TYPE_U64, offsetof(struct record, seed), 0},
    [FIELD_SCORE] = {"score", TYPE_F64, offsetof(struct record, score), 0},
    [FIELD_REJECT] = {"reject", TYPE_STRING, offsetof(struct record, reject), 4096},
};

int record_find_field(const void *name, size_t len)
{
    for (int f = 0; f < FIELD_COUNT; f++)
        if (strlen(record_fields[f].name) == len && memcmp(record_fields[f].name, name, len) == 0)
            return f;
    return -1;
}

static void *member(struct record *r, enum field f)
{
    return (char *)r + record_fields[f].offset;
}

static const void *const_member(const struct record *r, enum field f)
{
    return (const char *)r + record_fields[f].offset;
}

void record_clear(struct record *r)
{
    for (int f = 0; f < FIELD_COUNT; f++)
        record_drop(r, f);
    r->unknown.len = 0;
    r->unknown_count = 0;
}

void record_free(struct record *r)
{
    for (int f = 0; f < FIELD_COUNT; f++) {
        if (record_fields[f].type == TYPE_STRING || record_fields[f].type == TYPE_BYTES)
            buf_free(member(r, f));
        else if (record_fields[f].type == TYPE_INTS)
            free(((struct ints *)member(r, f))->data);
    }
    buf_free(&r->unknown);
    *r = (struct record){0};
}

void record_copy(struct record *to, const struct record *from)
{
    record_clear(to);
    for (int f = 0; f < FIELD_COUNT; f++) {
        if (!record_has(from, f))
            continue;
        const void *value = const_member(from, f);
        const struct buf *bytes = value;
        const struct ints *ints = value;
        switch (record_fields[f].type) {
        case TYPE_U64:
            record_set_u64(to, f, *(const uint64_t *)value);
            break;
        case TYPE_U32:
            record_set_number(to, f, *(const uint32_t *)value);
            break;
        case TYPE_F64:
            record_set_number(to, f, *(const double *)value);
            break;
        case TYPE_STRING:
        case TYPE_BYTES:
            record_set_string(to, f, bytes->data, bytes->len);
            break;
        case TYPE_INTS:
            record_set_ints(to, f, ints->data, ints->len);
            break;
        }
    }
    buf_append(&to->unknown, from->unknown.data, from->unknown.len);
    to->unknown_count = from->unknown_count;
}

void record_drop(struct record *r, enum field f)
{
    r->present &= ~(1u << f);
    if (record_fields[f].type == TYPE_STRING || record_fields[f].type == TYPE_BYTES)
        ((struct buf *)member(r, f))->len = 0;
    else if (record_fields[f].type == TYPE_INTS)
        ((struct ints *)member(r, f))->len = 0;
}

void record_set_string(struct record *r, enum field f, const void *data, size_t len)
{
    struct buf *b = member(r, f);
    b->len = 0;
    buf_reserve(b, len);
    if (len > 0)
        memmove(b->data, data, len); /* a part of the field's own text may be its new value */
    b->len = len;
    r->present |= 1u << f;
}

void record_set_number(struct record *r, enum field f, double value)
{
    if (record_fields[f].type == TYPE_U32)
        *(uint32_t *)member(r, f) = (uint32_t)value;
    else
        *(double *)member(r, f) = value;
    r->present |= 1u << f;
}

void record_set_u64(struct record *r, enum field f, uint64_t value)
{
    *(uint64_t *)member(r, f) = value;
    r->present |= 1u << f;
}

void record_set_ints(struct record *r, enum field f, const int32_t *data, size_t len)
{
    struct ints *ints = member(r, f);
    if (len > ints->cap) {
        ints->data = xrealloc(ints->data, len * sizeof *data);
        ints->cap = len;
    }
    if (len > 0)
        memmove(ints->data, data, len * sizeof *data);
    ints->len = len;
    r->present |= 1u << f;
}

static void set_text(struct record *r, enum field f, const char *format, va_list args)
{
    char *text;
    int len = vasprintf(&text, format, args);
    if (len < 0)
        mem_gone(0);
    record_set_string(r, f, text, utf8_cut(text, (size_t)len, record_fields[f].limit));
    free(text);
}

void record_set_key(struct record *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_text(r, FIELD_KEY, format, args);
    va_end(args);
}

void record_set_line_key(struct record *r, const char *name, uint64_t line)
{
    char digits[24], *p = digits + sizeof digits;
    size_t most = record_fields[FIELD_KEY].limit - sizeof digits;
    do
        *--p = (char)('0' + line % 10);
    while ((line /= 10) > 0);
    *--p = ':';
    record_set_string(r, FIELD_KEY, name, utf8_cut(name, strlen(name), most));
    buf_append(&r->key, p, (size_t)(digits + sizeof digits - p));
}

void record_reject(struct record *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_text(r, FIELD_REJECT, format, args);
    va_end(args);
    record_drop(r, FIELD_IMAGE);
    record_drop(r, FIELD_TOKENS);
    record_drop(r, FIELD_CODES);
}

int record_blame(struct record *r, const char *what)
{
    if (err_code() == ERR_AGAIN)
        return -1;
    record_reject(r, "%s: %s", what, err_text());
    return 0;
}

void record_set_caption(struct record *r, const void *text, size_t present, uint64_t whole)
{
    size_t limit = record_fields[FIELD_CAPTION].limit;
    if (whole <= limit) {
        record_set_string(r, FIELD_CAPTION, text, present);
        return;
    }
    record_set_string(r, FIELD_CAPTION, text, utf8_cut(text, present, CUT_CAPTION_BYTES));
    record_reject(r, "caption: %llu bytes, limit %zu", (unsigned long long)whole, limit);
}
