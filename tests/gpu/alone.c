/*
 * Stands in, where nothing can be installed, for what the golden vectors need of the libraries: a reader of
 * safetensors headers as their writers make them (no escapes, no white space but at the end), and errors for all else.
 */
#include "common/err.h"
#include "common/image.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/weights_file.h"
#include "tests/golden/golden.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Past the text, or NULL when it is not there. */
static const char *expect(const char *at, const char *text)
{
    return at && strncmp(at, text, strlen(text)) == 0 ? at + strlen(text) : NULL;
}

/* Past a string with its quotes; the caller frees *out. */
static const char *read_string(const char *at, char **out)
{
    const char *start = expect(at, "\""), *end = start ? strchr(start, '"') : NULL;
    if (!end)
        return NULL;
    *out = strndup(start, (size_t)(end - start));
    return end + 1;
}

/* Past [a, b, ...] of at most `most` whole numbers. */
static const char *read_numbers(const char *at, int64_t *out, int most, int *count)
{
    *count = 0;
    at = expect(at, "[");
    while (at && *at != ']' && *count < most) {
        char *end;
        out[(*count)++] = strtoll(at, &end, 10);
        at = end == at ? NULL : end;
        while (at && (*at == ',' || *at == ' '))
            at++;
    }
    return expect(at, "]");
}

static const char *skip_blanks(const char *at)
{
    while (at && (*at == ' ' || *at == ',' || *at == ':'))
        at++;
    return at;
}

static const char *read_meta(struct weights *w, const char *at)
{
    at = skip_blanks(expect(at, "{"));
    while (at && *at == '"') {
        w->meta = xrealloc(w->meta, (w->meta_count + 2) * sizeof *w->meta);
        at = skip_blanks(read_string(at, &w->meta[w->meta_count]));
        w->meta_count += at != NULL;
        at = skip_blanks(read_string(at, &w->meta[w->meta_count]));
        w->meta_count += at != NULL;
    }
    return expect(at, "}");
}

static int read_type(const char *name, enum weight_type *type)
{
    static const char *const NAMES[] = {"F32", "F16", "BF16", "F64", "U8", "I8", "I16", "I32", "I64"};
    for (int i = 0; i < (int)(sizeof NAMES / sizeof *NAMES); i++)
        if (strcmp(name, NAMES[i]) == 0) {
            *type = (enum weight_type)i;
            return 0;
        }
    return err_set(ERR_DATA, "dtype %s", name);
}

/* A tensor's fields, in any order; its data start at `data`. */
static const char *read_tensor(struct weights *w, const char *name, const char *at, const unsigned char *data)
{
    struct weight t = {.count = 1};
    int64_t ends[2] = {-1, -1};
    int count = 0;
    at = skip_blanks(expect(at, "{"));
    while (at && *at == '"') {
        char *key = NULL, *type = NULL;
        at = skip_blanks(read_string(at, &key));
        if (!at || !key) {
            free(key);
            return NULL;
        }
        if (strcmp(key, "dtype") == 0) {
            at = read_string(at, &type);
            if (at && read_type(type, &t.type) != 0)
                at = NULL;
            free(type);
        } else {
            bool shape = strcmp(key, "shape") == 0;
            at = read_numbers(at, shape ? t.shape : ends, shape ? WEIGHT_MAX_DIMS : 2, shape ? &t.ndim : &count);
        }
        free(key);
        at = skip_blanks(at);
    }
    for (int i = 0; i < t.ndim; i++)
        t.count *= (size_t)t.shape[i];
    size_t size = (size_t)(w->base + w->size - data);
    if (!at || ends[0] < 0 || (size_t)ends[1] > size ||
        (size_t)(ends[1] - ends[0]) != t.count * weight_type_size(t.type))
        return NULL;
    t.data = data + ends[0];
    t.name = xstrdup(name);
    weights_add(w, &t);
    return expect(at, "}");
}

int safetensors_read(struct weights *w)
{
    uint64_t length;
    memcpy(&length, w->base, sizeof length);
    if (w->size < sizeof length || length > w->size - sizeof length)
        return err_set(ERR_DATA, "no safetensors file");
    const unsigned char *data = w->base + sizeof length + length;
    char *header = strndup((const char *)w->base + sizeof length, length), *name = NULL;
    const char *at = skip_blanks(expect(header, "{"));
    while (at && *at == '"') {
        at = skip_blanks(read_string(at, &name));
        if (at && name)
            at = strcmp(name, "__metadata__") ? read_tensor(w, name, at, data) : read_meta(w, at);
        free(name);
        name = NULL;
        at = skip_blanks(at);
    }
    bool whole = expect(at, "}") != NULL;
    free(header);
    return whole ? 0 : err_set(ERR_DATA, "a safetensors header that the tests' small reader does not read");
}

int weights_save(const char *path, const struct weight *tensors, size_t count, const char *const *meta)
{
    (void)tensors, (void)count, (void)meta;
    return err_set(ERR_USAGE, "%s: the tests on a GPU write no weights", path);
}

static int cannot(const char *what)
{
    return err_set(ERR_USAGE, "the tests on a GPU read no %s", what);
}

int torch_read_zip(struct weights *w)
{
    (void)w;
    return cannot("PyTorch containers");
}

int torch_read_legacy(struct weights *w)
{
    (void)w;
    return cannot("PyTorch containers");
}

int golden_bpe(struct golden *g)
{
    (void)g;
    return cannot("vocabularies");
}

int image_decode(struct image *im, const void *data, size_t len, uint64_t max_pixels, int scale_down)
{
    (void)im, (void)data, (void)len, (void)max_pixels, (void)scale_down;
    return cannot("pictures");
}

void log_open(const char *program, bool json)
{
    (void)program, (void)json;
}

void log_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}
