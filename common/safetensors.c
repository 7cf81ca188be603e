/*
 * safetensors: u64 length of the header, the header (JSON: name -> {dtype, shape, data_offsets}, and __metadata__ of
 * strings), then the data, which the tensors must cover without gap or overlap.
 */
#include "common/err.h"
#include "common/mem.h"
#include "common/weights_file.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_MAX (16u << 20) /* bytes; a tensor takes about 120 */

static const char *const type_names[] = {
    [WEIGHT_F32] = "F32", [WEIGHT_F16] = "F16", [WEIGHT_BF16] = "BF16", [WEIGHT_F64] = "F64", [WEIGHT_U8] = "U8",
    [WEIGHT_I8] = "I8",   [WEIGHT_I16] = "I16", [WEIGHT_I32] = "I32",   [WEIGHT_I64] = "I64",
};
#define TYPE_COUNT (sizeof type_names / sizeof *type_names)

static int read_type(json_t *entry, enum weight_type *type)
{
    const char *name = json_string_value(json_object_get(entry, "dtype"));
    for (size_t i = 0; name && i < TYPE_COUNT; i++) {
        if (strcmp(name, type_names[i]) == 0) {
            *type = (enum weight_type)i;
            return 0;
        }
    }
    if (name && strcmp(name, "BOOL") == 0) {
        *type = WEIGHT_U8;
        return 0;
    }
    return err_set(ERR_DATA, "dtype %.32s is none of F32 F16 BF16 F64 U8 I8 I16 I32 I64 BOOL", name ? name : "(none)");
}

/* One entry of the header; data_size bytes of data start at `data`. */
static int read_entry(json_t *entry, const unsigned char *data, size_t data_size, struct weight *t)
{
    json_t *shape = json_object_get(entry, "shape"), *offsets = json_object_get(entry, "data_offsets");
    if (read_type(entry, &t->type) < 0)
        return -1;
    if (!json_is_array(shape) || json_array_size(shape) > WEIGHT_MAX_DIMS)
        return err_set(ERR_DATA, "shape is not a list of at most %d sizes", WEIGHT_MAX_DIMS);
    t->ndim = (int)json_array_size(shape);
    for (int i = 0; i < t->ndim; i++) {
        json_t *size = json_array_get(shape, (size_t)i);
        t->shape[i] = json_is_integer(size) ? json_integer_value(size) : -1;
    }
    if (weight_shape_count(t->shape, t->ndim, t->type, &t->count) < 0)
        return -1;
    json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return err_set(ERR_DATA, "data_offsets is not a pair of integers");
    json_int_t b = json_integer_value(begin), e = json_integer_value(end);
    if (b < 0 || e < b || (uint64_t)e > data_size)
        return err_set(ERR_DATA,
                       "data_offsets %lld..%lld lie outside the %zu bytes of data: the file is cut or damaged",
                       (long long)b, (long long)e, data_size);
    if ((uint64_t)(e - b) != t->count * weight_type_size(t->type))
        return err_set(ERR_DATA, "data_offsets hold %lld bytes, its dtype and shape need %zu", (long long)(e - b),
                       t->count * weight_type_size(t->type));
    t->data = data + b;
    return 0;
}

static int read_meta(struct weights *w, json_t *object)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object))
        return err_set(ERR_DATA, "__metadata__ is not an object");
    w->meta = xcalloc(2 * json_object_size(object) + 1, sizeof *w->meta);
    json_object_foreach(object, key, value)
    {
        if (!json_is_string(value))
            return err_set(ERR_DATA, "__metadata__: '%.64s' is not a string", key);
        w->meta[w->meta_count++] = xstrdup(key);
        w->meta[w->meta_count++] = xstrdup(json_string_value(value));
    }
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct weight *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return (x->count > 0) - (y->count > 0);
}

/* The tensors cover the data from its first to its last byte, each byte once. */
static int check_cover(struct weights *w, const unsigned char *data)
{
    if (w->count > 0)
        qsort(w->list, w->count, sizeof *w->list, by_place);
    for (size_t i = 0; i < w->count; i++) {
        if ((const unsigned char *)w->list[i].data != data)
            return err_set(ERR_DATA, "'%s' overlaps another tensor or leaves a gap before it", w->list[i].name);
        data += w->list[i].count * weight_type_size(w->list[i].type);
    }
    if (data != w->base + w->size)
        return err_set(ERR_DATA, "%zu bytes belong to no tensor", (size_t)(w->base + w->size - data));
    return 0;
}

static int read_header(struct weights *w, json_t *header, const unsigned char *data)
{
    const char *name;
    json_t *value;
    json_object_foreach(header, name, value)
    {
        if (strcmp(name, "__metadata__") == 0) {
            if (read_meta(w, value) < 0)
                return -1;
            continue;
        }
        struct weight t = {0};
        if (read_entry(value, data, (size_t)(w->base + w->size - data), &t) < 0)
            return err_wrap("tensor '%.96s'", name);
        t.name = xstrdup(name);
        weights_add(w, &t);
    }
    return check_cover(w, data);
}

int safetensors_read(struct weights *w)
{
    uint64_t length;
    if (w->size < sizeof length + 2)
        return err_set(ERR_DATA, "%zu bytes are no weights file", w->size);
    memcpy(&length, w->base, sizeof length);
    if (length > HEADER_MAX || length > w->size - sizeof length || w->base[sizeof length] != '{')
        return err_set(ERR_DATA, "neither a safetensors nor a PyTorch file (or cut, or damaged)");
    json_error_t e;
    const char *text = (const char *)w->base + sizeof length;
    json_t *header = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &e);
    if (!header)
        return err_set(ERR_DATA, "damaged safetensors header, byte %d: %s", e.position, e.text);
    int rc = read_header(w, header, w->base + sizeof length + length);
    json_decref(header);
    return rc;
}

/* Larger elements first, so that each tensor starts at a multiple of its element's size; then by name. */
static int by_size_and_name(const void *a, const void *b)
{
    const struct weight *x = *(const struct weight *const *)a, *y = *(const struct weight *const *)b;
    size_t sx = weight_type_size(x->type), sy = weight_type_size(y->type);
    return sx != sy ? (sx < sy) - (sx > sy) : strcmp(x->name, y->name);
}

static json_t *entry_of(const struct weight *t, size_t offset)
{
    json_t *shape = json_array();
    for (int i = 0; i < t->ndim; i++)
        json_array_append_new(shape, json_integer(t->shape[i]));
    size_t end = offset + t->count * weight_type_size(t->type);
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", type_names[t->type], "shape", shape, "data_offsets",
                     (json_int_t)offset, (json_int_t)end);
}

/* Fills `out` with the length and the padded header. A name or a value that is no UTF-8, or a name
 * given twice, is refused. */
static int make_header(const struct weight **sorted, size_t count, const char *const *meta, struct buf *out)
{
    json_t *header = json_object(), *strings = json_object();
    int bad = 0;
    for (; meta && meta[0]; meta += 2)
        bad |= json_object_set_new(strings, meta[0], json_string(meta[1]));
    if (json_object_size(strings) > 0)
        bad |= json_object_set(header, "__metadata__", strings);
    size_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        bad |= json_object_set_new(header, sorted[i]->name, entry_of(sorted[i], offset));
        offset += sorted[i]->count * weight_type_size(sorted[i]->type);
    }
    bad |= json_object_size(header) != count + (json_object_size(strings) > 0);
    char *text = bad ? NULL : json_dumps(header, JSON_COMPACT);
    json_decref(strings);
    json_decref(header);
    if (!text)
        return err_set(ERR_BUG,
                       "cannot write a safetensors header: a name or value is not UTF-8, or two names are equal");
    uint64_t length = (strlen(text) + 7) / 8 * 8;
    buf_append(out, &length, sizeof length);
    buf_append(out, text, strlen(text));
    buf_append(out, "        ", length - strlen(text));
    free(text);
    return 0;
}

int weights_save(const char *path, const struct weight *tensors, size_t count, const char *const *meta)
{
    const struct weight **sorted = xcalloc(count, sizeof(void *));
    struct iovec *parts = xcalloc(count + 1, sizeof *parts);
    struct buf header = {0};
    for (size_t i = 0; i < count; i++)
        sorted[i] = &tensors[i];
    qsort(sorted, count, sizeof(void *), by_size_and_name);
    int rc = make_header(sorted, count, meta, &header);
    parts[0] = (struct iovec){header.data, header.len};
    for (size_t i = 0; i < count; i++)
        parts[i + 1] = (struct iovec){(void *)sorted[i]->data, sorted[i]->count * weight_type_size(sorted[i]->type)};
    if (rc == 0)
        rc = file_write_parts(path, parts, count + 1);
    buf_free(&header);
    free(parts);
    free(sorted);
    return rc;
}
