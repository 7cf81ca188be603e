/*
 * Byte-pair encoding: each line of the file is {"text": ..., NAME: ids, ...} for every vocabulary NAME beside it:
 * NAME.tokenizer.json, or for "clip" the merges that OpenAI publishes.
 */
#include "common/err.h"
#include "common/mem.h"
#include "models/bpe.h"
#include "tests/golden/golden.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE ((size_t)1 << 30)

/* The file's lines as an array. NULL with an error. */
static json_t *read_lines(const char *path)
{
    struct buf file = {0};
    json_t *lines = json_array();
    if (file_read(path, MAX_FILE, &file) != 0) {
        json_decref(lines);
        return NULL;
    }
    size_t number = 1;
    for (size_t at = 0, end; at < file.len; at = end + 1, number++) {
        const unsigned char *newline = memchr(file.data + at, '\n', file.len - at);
        end = newline ? (size_t)(newline - file.data) : file.len;
        json_error_t error;
        json_t *line = json_loadb((const char *)file.data + at, end - at, JSON_ALLOW_NUL, &error);
        if (!json_is_string(json_object_get(line, "text"))) {
            err_set(ERR_DATA, "line %zu is no object with a \"text\": %s", number, line ? "another value" : error.text);
            json_decref(line);
            json_decref(lines);
            lines = NULL;
            break;
        }
        json_array_append_new(lines, line);
    }
    buf_free(&file);
    return lines;
}

static bool same_ids(const json_t *want, const struct ints *got)
{
    if (json_array_size(want) != got->len)
        return false;
    for (size_t i = 0; i < got->len; i++) {
        if (json_integer_value(json_array_get(want, i)) != got->data[i])
            return false;
    }
    return true;
}

/* Counts the texts whose ids are not as the file says. */
static int check_vocabulary(struct golden *g, json_t *lines, const char *name)
{
    char *file =
        strcmp(name, "clip") == 0 ? xstrdup("bpe_simple_vocab_16e6.txt.gz") : xasprintf("%s.tokenizer.json", name);
    char *path = golden_beside(g, file);
    struct bpe *b = NULL;
    int status = bpe_open(&b, path);
    free(path);
    free(file);
    if (status != 0)
        return -1;
    struct bpe_worker *worker = bpe_worker_new(b);
    struct ints ids = {0};
    size_t wrong = 0;
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const json_t *line = json_array_get(lines, i), *text = json_object_get(line, "text");
        ids.len = 0;
        bpe_encode(worker, json_string_value(text), json_string_length(text), &ids);
        bool same = same_ids(json_object_get(line, name), &ids);
        if (!same && wrong < 5)
            printf("        line %zu: %.60s\n", i + 1, json_string_value(text));
        wrong += !same;
    }
    golden_exact(g, name, wrong, json_array_size(lines));
    free(ids.data);
    bpe_worker_free(&worker);
    bpe_free(&b);
    return 0;
}

int golden_bpe(struct golden *g)
{
    json_t *lines = read_lines(g->path);
    if (!lines)
        return -1;
    int status = 0;
    const char *name;
    json_t *value;
    json_object_foreach(json_array_get(lines, 0), name, value)
    {
        if (json_is_array(value) && check_vocabulary(g, lines, name) != 0) {
            status = -1;
            break;
        }
    }
    json_decref(lines);
    return status;
}
