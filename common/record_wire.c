/*
 * Records on the wire: a msgpack map from field names to values, in the field table's order, then what is unknown here.
 */
#include "common/err.h"
#include "common/record.h"
#include "common/walk.h"
#include <limits.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

static int append(void *out, const char *data, size_t len)
{
    buf_append(out, data, len);
    return 0;
}

/* Ids and codes are most of a record's numbers, and few are above 65,535: written here, as msgpack_pack_int32 would. */
static void pack_ints(msgpack_packer *packer, const struct ints *ints)
{
    struct buf *out = packer->data;
    msgpack_pack_array(packer, ints->len);
    buf_reserve(out, 3 * ints->len);
    for (size_t i = 0; i < ints->len; i++) {
        int32_t value = ints->data[i];
        if (value < 0 || value > UINT16_MAX) {
            msgpack_pack_int32(packer, value);
            buf_reserve(out, 3 * (ints->len - i));
            continue;
        }
        unsigned char *to = out->data + out->len;
        if (value > UINT8_MAX) {
            *to++ = 0xCD;
            *to++ = (unsigned char)(value >> 8);
        } else if (value > INT8_MAX) {
            *to++ = 0xCC;
        }
        *to++ = (unsigned char)value;
        out->len = (size_t)(to - out->data);
    }
}

static void pack_value(msgpack_packer *packer, const void *value, enum field_type type)
{
    const struct buf *bytes = value;
    switch (type) {
    case TYPE_U64:
        msgpack_pack_uint64(packer, *(const uint64_t *)value);
        break;
    case TYPE_U32:
        msgpack_pack_uint32(packer, *(const uint32_t *)value);
        break;
    case TYPE_F64:
        msgpack_pack_double(packer, *(const double *)value);
        break;
    case TYPE_STRING:
        msgpack_pack_str(packer, bytes->len);
        append(packer->data, (const char *)bytes->data, bytes->len);
        break;
    case TYPE_BYTES:
        msgpack_pack_bin(packer, bytes->len);
        append(packer->data, (const char *)bytes->data, bytes->len);
        break;
    case TYPE_INTS:
        pack_ints(packer, value);
        break;
    }
}

void record_add_text(struct record *r, const char *name, const char *text, size_t len)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, &r->unknown, append);
    msgpack_pack_str(&packer, strlen(name));
    msgpack_pack_str_body(&packer, name, strlen(name));
    msgpack_pack_str(&packer, len);
    msgpack_pack_str_body(&packer, text, len);
    r->unknown_count++;
}

void record_pack(const struct record *r, struct buf *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, append);
    msgpack_pack_map(&packer, (size_t)__builtin_popcount(r->present) + r->unknown_count);
    for (int f = 0; f < FIELD_COUNT; f++) {
        const struct field_info *info = &record_fields[f];
        if (!record_has(r, f))
            continue;
        msgpack_pack_str(&packer, strlen(info->name));
        msgpack_pack_str_body(&packer, info->name, strlen(info->name));
        pack_value(&packer, (const char *)r + info->offset, info->type);
    }
    buf_append(out, r->unknown.data, r->unknown.len);
}

static int wrong(const struct field_info *info, const char *expected)
{
    return err_set(ERR_DATA, "record: %s: not %s", info->name, expected);
}

static int unpack_bytes(struct buf *to, const struct walk_item *item, const struct field_info *info)
{
    if (item->type != (info->type == TYPE_STRING ? WALK_STRING : WALK_BYTES))
        return wrong(info, info->type == TYPE_STRING ? "a string" : "bytes");
    if (item->len > info->limit)
        return err_set(ERR_DATA, "record: %s: %zu bytes, limit %zu", info->name, item->len, info->limit);
    if (buf_try(to, item->len, info->limit, info->name) < 0)
        return -1;
    buf_append(to, item->data, item->len);
    return 0;
}

static int unpack_ints(struct ints *to, const struct walk_item *item, const struct field_info *info, struct walk *w)
{
    if (item->type != WALK_ARRAY)
        return wrong(info, "an array");
    if (item->len > info->limit)
        return err_set(ERR_DATA, "record: %s: %zu items, limit %zu", info->name, item->len, info->limit);
    if (item->len > to->cap) {
        int32_t *data = mem_try(item->len * sizeof *data, SIZE_MAX, info->name);
        if (data == NULL)
            return -1;
        free(to->data);
        to->data = data;
        to->cap = item->len;
    }
    for (size_t i = 0; i < item->len; i++) {
        struct walk_item one;
        if (walk_next(w, &one) < 0)
            return -1;
        bool fits = one.type == WALK_UNSIGNED ? one.u <= INT32_MAX : one.type == WALK_NEGATIVE && one.i >= INT32_MIN;
        if (!fits)
            return wrong(info, "32-bit integers");
        to->data[i] = (int32_t)one.i;
    }
    to->len = item->len;
    return 0;
}

static int unpack_value(struct record *r, enum field f, struct walk *w)
{
    const struct field_info *info = &record_fields[f];
    void *value = (char *)r + info->offset;
    struct walk_item item;
    if (record_has(r, f))
        return err_set(ERR_DATA, "record: %s: there twice", info->name);
    if (walk_next(w, &item) < 0)
        return err_wrap("record: %s", info->name);
    r->present |= 1u << f;
    switch (info->type) {
    case TYPE_U64:
        *(uint64_t *)value = item.u;
        return item.type == WALK_UNSIGNED ? 0 : wrong(info, "an unsigned integer");
    case TYPE_U32:
        *(uint32_t *)value = (uint32_t)item.u;
        return item.type == WALK_UNSIGNED && item.u <= UINT32_MAX ? 0 : wrong(info, "an unsigned 32-bit integer");
    case TYPE_F64:
        *(double *)value = item.type == WALK_FLOAT      ? item.f
                           : item.type == WALK_UNSIGNED ? (double)item.u
                                                        : (double)item.i;
        return item.type == WALK_FLOAT || item.type == WALK_UNSIGNED || item.type == WALK_NEGATIVE
                   ? 0
                   : wrong(info, "a number");
    case TYPE_STRING:
    case TYPE_BYTES:
        return unpack_bytes(value, &item, info);
    case TYPE_INTS:
        return unpack_ints(value, &item, info, w);
    }
    return -1;
}

static int unpack_fields(struct record *r, struct walk *w)
{
    struct walk_item map, name;
    if (walk_next(w, &map) < 0)
        return err_wrap("record");
    if (map.type != WALK_MAP)
        return err_set(ERR_DATA, "record: not a msgpack map");
    for (size_t i = 0; i < map.len; i++) {
        const unsigned char *start = w->at;
        if (walk_next(w, &name) < 0)
            return err_wrap("record: field name");
        if (name.type != WALK_STRING)
            return err_set(ERR_DATA, "record: a field name is not a string");
        int f = record_find_field(name.data, name.len);
        if (f >= 0) {
            if (unpack_value(r, f, w) < 0)
                return -1;
            continue;
        }
        if (walk_skip(w) < 0)
            return err_wrap("record: unknown field");
        size_t bytes = (size_t)(w->at - start);
        if (++r->unknown_count > RECORD_MAX_UNKNOWN_FIELDS)
            return err_set(ERR_DATA, "record: more than %d unknown fields", RECORD_MAX_UNKNOWN_FIELDS);
        if (buf_try(&r->unknown, bytes, RECORD_MAX_UNKNOWN_BYTES, "record: unknown fields") < 0)
            return -1;
        buf_append(&r->unknown, start, bytes);
    }
    if (w->at != w->end)
        return err_set(ERR_DATA, "record: %zu bytes behind its end", (size_t)(w->end - w->at));
    return 0;
}

int record_unpack(struct record *r, const void *data, size_t len)
{
    struct walk w = {data, data};
    if (len > 0) /* no bytes may have no address */
        w.end += len;
    record_clear(r);
    if (unpack_fields(r, &w) == 0)
        return 0;
    record_clear(r);
    return -1;
}
