/*
 * Records as JSON objects: the fields under their names, then those unknown here. msgpack's bytes and extensions become
 * base64 strings.
 */
#include "common/base64.h"
#include "common/err.h"
#include "common/record.h"
#include "common/utf8.h"
#include "common/walk.h"
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

static int append(void *out, const char *data, size_t len)
{
    buf_append(out, data, len);
    return 0;
}

static int append_dump(const char *data, size_t len, void *out)
{
    buf_append(out, data, len);
    return 0;
}

static json_t *json_text(const void *data, size_t len)
{
    struct buf valid = {0};
    utf8_append_valid(&valid, data, len);
    json_t *text = json_stringn_nocheck(buf_string(&valid), valid.len);
    buf_free(&valid);
    return text;
}

static json_t *json_bytes(const void *data, size_t len)
{
    struct buf encoded = {0};
    base64_encode(data, len, &encoded);
    json_t *text = json_stringn_nocheck(buf_string(&encoded), encoded.len);
    buf_free(&encoded);
    return text;
}

static json_t *json_u64(uint64_t value)
{
    if (value <= INT64_MAX)
        return json_integer((json_int_t)value);
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRIu64, value);
    return json_string(digits);
}

/* JSON knows neither infinity nor NaN. */
static json_t *json_number(double value)
{
    json_t *number = json_real(value);
    return number ? number : json_null();
}

static json_t *json_field(const void *value, enum field_type type)
{
    const struct buf *bytes = value;
    const struct ints *ints = value;
    json_t *array;
    switch (type) {
    case TYPE_U64:
        return json_u64(*(const uint64_t *)value);
    case TYPE_U32:
        return json_integer(*(const uint32_t *)value);
    case TYPE_F64:
        return json_number(*(const double *)value);
    case TYPE_STRING:
        return json_text(bytes->data, bytes->len);
    case TYPE_BYTES:
        return json_bytes(bytes->data, bytes->len);
    case TYPE_INTS:
        array = json_array();
        for (size_t i = 0; i < ints->len; i++)
            json_array_append_new(array, json_integer(ints->data[i]));
        return array;
    }
    return NULL;
}

static json_t *json_unknown(struct walk *w);

/* The next pair of a walk, whose key is a string; NUL, which JSON's names cannot have, becomes U+FFFD. */
static void add_pair(json_t *object, struct walk *w)
{
    struct buf name = {0};
    json_t *key = json_unknown(w);
    const char *text = json_string_value(key);
    for (size_t i = 0; i < json_string_length(key); i++)
        buf_append(&name, text[i] ? text + i : "\xEF\xBF\xBD", text[i] ? 1 : 3);
    json_object_set_new_nocheck(object, buf_string(&name), json_unknown(w));
    json_decref(key);
    buf_free(&name);
}

static bool keys_are_strings(struct walk w, size_t pairs)
{
    struct walk_item key;
    for (size_t i = 0; i < pairs; i++)
        if (walk_next(&w, &key) < 0 || key.type != WALK_STRING || walk_skip(&w) < 0)
            return false;
    return true;
}

/* A map; one that JSON cannot have, with other keys than strings, as an array of key, value, key, value ... */
static json_t *json_unknown_map(struct walk *w, size_t pairs)
{
    bool object = keys_are_strings(*w, pairs);
    json_t *map = object ? json_object() : json_array();
    for (size_t i = 0; i < (object ? pairs : 2 * pairs); i++) {
        if (object)
            add_pair(map, w);
        else
            json_array_append_new(map, json_unknown(w));
    }
    return map;
}

/* One value of a walk that record_unpack has already taken once: valid, and of bounded depth. */
static json_t *json_unknown(struct walk *w)
{
    struct walk_item item;
    json_t *array;
    if (walk_next(w, &item) < 0)
        return json_null();
    switch (item.type) {
    case WALK_NIL:
        return json_null();
    case WALK_BOOL:
        return json_boolean(item.u);
    case WALK_UNSIGNED:
        return json_u64(item.u);
    case WALK_NEGATIVE:
        return json_integer(item.i);
    case WALK_FLOAT:
        return json_number(item.f);
    case WALK_STRING:
        return json_text(item.data, item.len);
    case WALK_BYTES:
    case WALK_EXT:
        return json_bytes(item.data, item.len);
    case WALK_ARRAY:
        array = json_array();
        for (size_t i = 0; i < item.len; i++)
            json_array_append_new(array, json_unknown(w));
        return array;
    case WALK_MAP:
        return json_unknown_map(w, item.len);
    }
    return NULL;
}

void record_to_json(const struct record *r, struct buf *out)
{
    json_t *object = json_object();
    for (int f = 0; f < FIELD_COUNT; f++)
        if (record_has(r, f))
            json_object_set_new(object, record_fields[f].name,
                                json_field((const char *)r + record_fields[f].offset, record_fields[f].type));
    struct walk w = {r->unknown.data, r->unknown.data};
    if (r->unknown_count > 0)
        w.end += r->unknown.len;
    for (uint32_t i = 0; i < r->unknown_count; i++)
        add_pair(object, &w);
    json_dump_callback(object, append_dump, out, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(object);
}

static int wrong(const char *name, const char *expected)
{
    return err_set(ERR_DATA, "json: \"%s\" is not %s", name, expected);
}

static int read_u64(const json_t *json, uint64_t *value)
{
    if (json_is_integer(json)) {
        *value = (uint64_t)json_integer_value(json);
        return json_integer_value(json) >= 0 ? 0 : -1;
    }
    const char *digits = json_is_string(json) ? json_string_value(json) : "";
    size_t len = strlen(digits);
    if (len == 0 || strspn(digits, "0123456789") != len)
        return -1;
    errno = 0;
    *value = strtoull(digits, NULL, 10);
    return errno == 0 ? 0 : -1;
}

static int read_bytes(struct record *r, enum field f, const json_t *json)
{
    const struct field_info *info = &record_fields[f];
    if (!json_is_string(json))
        return wrong(info->name, "a string");
    const char *text = json_string_value(json);
    size_t len = json_string_length(json);
    if (f == FIELD_CAPTION) {
        record_set_caption(r, text, len, len);
        return 0;
    }
    struct buf decoded = {0};
    if (info->type == TYPE_BYTES) {
        if (base64_decode(text, len, &decoded) < 0) {
            buf_free(&decoded);
            return err_wrap("json: \"%s\"", info->name);
        }
        text = (const char *)decoded.data;
        len = decoded.len;
    }
    int result = 0;
    if (len > info->limit)
        result = err_set(ERR_DATA, "json: \"%s\": %zu bytes, limit %zu", info->name, len, info->limit);
    else
        record_set_string(r, f, text, len);
    buf_free(&decoded);
    return result;
}

static int read_ints(struct record *r, enum field f, const json_t *json)
{
    const struct field_info *info = &record_fields[f];
    size_t len = json_array_size(json);
    if (!json_is_array(json))
        return wrong(info->name, "an array");
    if (len > info->limit)
        return err_set(ERR_DATA, "json: \"%s\": %zu items, limit %zu", info->name, len, info->limit);
    int32_t *values = xmalloc(len * sizeof *values);
    int result = 0;
    for (size_t i = 0; i < len && result == 0; i++) {
        const json_t *one = json_array_get(json, i);
        json_int_t value = json_integer_value(one);
        if (!json_is_integer(one) || value < INT32_MIN || value > INT32_MAX)
            result = wrong(info->name, "an array of 32-bit integers");
        values[i] = (int32_t)value;
    }
    if (result == 0)
        record_set_ints(r, f, values, len);
    free(values);
    return result;
}

static int read_field(struct record *r, enum field f, const json_t *json)
{
    const char *name = record_fields[f].name;
    uint64_t value = 0;
    switch (record_fields[f].type) {
    case TYPE_U64:
        if (read_u64(json, &value) < 0)
            return wrong(name, "an unsigned 64-bit integer");
        record_set_u64(r, f, value);
        return 0;
    case TYPE_U32:
        if (read_u64(json, &value) < 0 || value > UINT32_MAX)
            return wrong(name, "an unsigned 32-bit integer");
        record_set_number(r, f, (double)value);
        return 0;
    case TYPE_F64:
        if (!json_is_number(json))
            return wrong(name, "a number");
        record_set_number(r, f, json_number_value(json));
        return 0;
    case TYPE_STRING:
    case TYPE_BYTES:
        return read_bytes(r, f, json);
    case TYPE_INTS:
        return read_ints(r, f, json);
    }
    return -1;
}

static void pack_string(msgpack_packer *packer, const char *text, size_t len)
{
    msgpack_pack_str(packer, len);
    append(packer->data, text, len);
}

static int pack_json(msgpack_packer *packer, json_t *json, int depth)
{
    const char *key;
    json_t *value;
    size_t i;
    if (depth > WALK_MAX_DEPTH)
        return err_set(ERR_DATA, "json: nested more than %d deep", WALK_MAX_DEPTH);
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        msgpack_pack_map(packer, json_object_size(json));
        json_object_foreach(json, key, value)
        {
            pack_string(packer, key, strlen(key));
            if (pack_json(packer, value, depth + 1) < 0)
                return -1;
        }
        return 0;
    case JSON_ARRAY:
        msgpack_pack_array(packer, json_array_size(json));
        json_array_foreach(json, i, value)
        {
            if (pack_json(packer, value, depth + 1) < 0)
                return -1;
        }
        return 0;
    case JSON_STRING:
        pack_string(packer, json_string_value(json), json_string_length(json));
        return 0;
    case JSON_INTEGER:
        return msgpack_pack_int64(packer, json_integer_value(json));
    case JSON_REAL:
        return msgpack_pack_double(packer, json_real_value(json));
    case JSON_TRUE:
        return msgpack_pack_true(packer);
    case JSON_FALSE:
        return msgpack_pack_false(packer);
    case JSON_NULL:
        return msgpack_pack_nil(packer);
    }
    return -1;
}

static int read_unknown(struct record *r, const char *name, json_t *json)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, &r->unknown, append);
    pack_string(&packer, name, strlen(name));
    if (pack_json(&packer, json, 0) < 0)
        return -1;
    if (++r->unknown_count > RECORD_MAX_UNKNOWN_FIELDS || r->unknown.len > RECORD_MAX_UNKNOWN_BYTES)
        return err_set(ERR_DATA, "json: more than %d unknown fields or %u bytes of them", RECORD_MAX_UNKNOWN_FIELDS,
                       RECORD_MAX_UNKNOWN_BYTES);
    return 0;
}

static int read_object(struct record *r, json_t *object)
{
    const char *name;
    json_t *value;
    if (!json_is_object(object))
        return err_set(ERR_DATA, "json: not an object");
    json_object_foreach(object, name, value)
    {
        int f = record_find_field(name, strlen(name));
        if (f >= 0 && json_is_null(value))
            continue;
        if ((f >= 0 ? read_field(r, f, value) : read_unknown(r, name, value)) < 0)
            return -1;
    }
    return 0;
}

int record_from_json(struct record *r, const char *text, size_t len)
{
    json_error_t error;
    record_clear(r);
    json_t *object = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (object == NULL)
        return err_set(ERR_DATA, "json: %s at byte %d", error.text, error.position);
    int result = read_object(r, object);
    json_decref(object);
    if (result < 0)
        record_clear(r);
    if (record_has(r, FIELD_REJECT)) { /* whatever else the line held: a tombstone has no payload */
        record_drop(r, FIELD_IMAGE);
        record_drop(r, FIELD_TOKENS);
        record_drop(r, FIELD_CODES);
    }
    return result;
}
