/*
 * A bounded walk over msgpack bytes (walk.h). The format: github.com/msgpack/msgpack/blob/master/spec.md.
 */
#include "common/walk.h"
#include "common/err.h"
#include <string.h>

static int take_number(struct walk *w, int bytes, uint64_t *value)
{
    *value = 0;
    if (w->end - w->at < bytes)
        return err_set(ERR_DATA, "msgpack: cut within a number");
    for (int i = 0; i < bytes; i++)
        *value = *value << 8 | *w->at++;
    return 0;
}

static int take_bytes(struct walk *w, struct walk_item *item, enum walk_type type, uint64_t len)
{
    uint64_t present = (uint64_t)(w->end - w->at);
    if (len > present)
        return err_set(ERR_DATA, "msgpack: %llu bytes claimed, %llu present", (unsigned long long)len,
                       (unsigned long long)present);
    *item = (struct walk_item){.type = type, .data = w->at, .len = (size_t)len};
    w->at += len;
    return 0;
}

static int take_head(struct walk *w, struct walk_item *item, enum walk_type type, uint64_t count)
{
    uint64_t present = (uint64_t)(w->end - w->at);
    if (count * (type == WALK_MAP ? 2 : 1) > present)
        return err_set(ERR_DATA, "msgpack: %llu items claimed in %llu bytes", (unsigned long long)count,
                       (unsigned long long)present);
    *item = (struct walk_item){.type = type, .len = (size_t)count};
    return 0;
}

static int take_unsigned(struct walk *w, struct walk_item *item, int bytes)
{
    *item = (struct walk_item){.type = WALK_UNSIGNED};
    return take_number(w, bytes, &item->u);
}

static int take_signed(struct walk *w, struct walk_item *item, int bytes)
{
    uint64_t raw;
    if (take_number(w, bytes, &raw) < 0)
        return -1;
    int shift = 64 - 8 * bytes;
    int64_t value = (int64_t)(raw << shift) >> shift;
    *item = (struct walk_item){.type = value < 0 ? WALK_NEGATIVE : WALK_UNSIGNED, .i = value};
    return 0;
}

static int take_float(struct walk *w, struct walk_item *item, int bytes)
{
    uint64_t raw;
    if (take_number(w, bytes, &raw) < 0)
        return -1;
    *item = (struct walk_item){.type = WALK_FLOAT};
    if (bytes == 4) {
        uint32_t half = (uint32_t)raw;
        float single;
        memcpy(&single, &half, 4);
        item->f = single;
    } else {
        memcpy(&item->f, &raw, 8);
    }
    return 0;
}

/* Bytes or a head whose length stands in the `size` bytes behind the tag; an extension has its type between. */
static int take_sized(struct walk *w, struct walk_item *item, enum walk_type type, int size)
{
    uint64_t len, ext_type;
    if (take_number(w, size, &len) < 0)
        return -1;
    if (type == WALK_ARRAY || type == WALK_MAP)
        return take_head(w, item, type, len);
    if (type == WALK_EXT && take_number(w, 1, &ext_type) < 0)
        return -1;
    return take_bytes(w, item, type, len);
}

static int take_tagged(struct walk *w, struct walk_item *item, unsigned tag)
{
    uint64_t ext_type;
    switch (tag) {
    case 0xC0:
        *item = (struct walk_item){.type = WALK_NIL};
        return 0;
    case 0xC2:
    case 0xC3:
        *item = (struct walk_item){.type = WALK_BOOL, .u = tag & 1};
        return 0;
    case 0xC4:
    case 0xC5:
    case 0xC6:
        return take_sized(w, item, WALK_BYTES, 1 << (tag - 0xC4));
    case 0xC7:
    case 0xC8:
    case 0xC9:
        return take_sized(w, item, WALK_EXT, 1 << (tag - 0xC7));
    case 0xCA:
    case 0xCB:
        return take_float(w, item, tag == 0xCA ? 4 : 8);
    case 0xCC:
    case 0xCD:
    case 0xCE:
    case 0xCF:
        return take_unsigned(w, item, 1 << (tag - 0xCC));
    case 0xD0:
    case 0xD1:
    case 0xD2:
    case 0xD3:
        return take_signed(w, item, 1 << (tag - 0xD0));
    case 0xD4:
    case 0xD5:
    case 0xD6:
    case 0xD7:
    case 0xD8:
        return take_number(w, 1, &ext_type) < 0 ? -1 : take_bytes(w, item, WALK_EXT, 1u << (tag - 0xD4));
    case 0xD9:
    case 0xDA:
    case 0xDB:
        return take_sized(w, item, WALK_STRING, 1 << (tag - 0xD9));
    case 0xDC:
    case 0xDD:
        return take_sized(w, item, WALK_ARRAY, 2 << (tag - 0xDC));
    case 0xDE:
    case 0xDF:
        return take_sized(w, item, WALK_MAP, 2 << (tag - 0xDE));
    default:
        return err_set(ERR_DATA, "msgpack: invalid byte 0x%02X", tag);
    }
}

int walk_next(struct walk *w, struct walk_item *item)
{
    if (w->at == w->end)
        return err_set(ERR_DATA, "msgpack: cut before a value");
    unsigned tag = *w->at++;
    if (tag >= 0xC0 && tag < 0xE0)
        return take_tagged(w, item, tag);
    if (tag >= 0xE0) {
        *item = (struct walk_item){.type = WALK_NEGATIVE, .i = (int)tag - 256};
        return 0;
    }
    if (tag < 0x80) {
        *item = (struct walk_item){.type = WALK_UNSIGNED, .u = tag};
        return 0;
    }
    if (tag < 0x90)
        return take_head(w, item, WALK_MAP, tag & 0x0F);
    if (tag < 0xA0)
        return take_head(w, item, WALK_ARRAY, tag & 0x0F);
    return take_bytes(w, item, WALK_STRING, tag & 0x1F);
}

static int skip(struct walk *w, int depth)
{
    struct walk_item item;
    if (walk_next(w, &item) < 0)
        return -1;
    if (item.type != WALK_ARRAY && item.type != WALK_MAP)
        return 0;
    if (depth == WALK_MAX_DEPTH)
        return err_set(ERR_DATA, "msgpack: nested more than %d deep", WALK_MAX_DEPTH);
    size_t values = item.type == WALK_MAP ? 2 * item.len : item.len;
    for (size_t i = 0; i < values; i++)
        if (skip(w, depth + 1) < 0)
            return -1;
    return 0;
}

int walk_skip(struct walk *w)
{
    return skip(w, 0);
}
