/*
 * The kind "jsonl": one JSON object a line, its fields those of a record (record_to_json). The source numbers the
 * records by their order, keeps a line's own key, passes over empty lines, and turns a line that is no record into a
 * reject.
 */
#include "common/endpoint.h"
#include "common/err.h"
#include "common/input.h"
#include "common/output.h"
#include <inttypes.h>
#include <stdlib.h>

#define MAX_LINE_BYTES ((size_t)512 << 20) /* a picture of the largest size in base64, and the rest */

struct jsonl_source {
    struct input *in;
    struct buf line;
    uint64_t id, number;
};

struct jsonl_sink {
    struct output *out;
    struct buf line;
};

static int source_jsonl_open(void **self, const char *rest, const struct source_options *options)
{
    (void)options;
    struct jsonl_source *s = xcalloc(1, sizeof *s);
    if (input_open(&s->in, rest) < 0) {
        free(s);
        return -1;
    }
    *self = s;
    return 0;
}

static int source_jsonl_next(void *self, struct record *r)
{
    struct jsonl_source *s = self;
    uint64_t whole;
    int got;
    do {
        got = input_line(s->in, &s->line, MAX_LINE_BYTES, &whole);
        s->number++;
    } while (got > 0 && whole == 0);
    if (got <= 0)
        return got;
    if (whole > MAX_LINE_BYTES) {
        record_clear(r);
        record_reject(r, "json: a line of %" PRIu64 " bytes, limit %zu", whole, MAX_LINE_BYTES);
    } else if (record_from_json(r, (const char *)s->line.data, s->line.len) < 0) {
        record_reject(r, "%s", err_text());
    }
    record_set_u64(r, FIELD_ID, s->id++);
    if (!record_has(r, FIELD_KEY))
        record_set_line_key(r, input_name(s->in), s->number);
    return 1;
}

static double source_jsonl_fraction(const void *self)
{
    const struct jsonl_source *s = self;
    return input_fraction(s->in);
}

static void source_jsonl_close(void *self)
{
    struct jsonl_source *s = self;
    input_close(&s->in);
    buf_free(&s->line);
    free(s);
}

static int sink_jsonl_open(void **self, const char *rest, const struct sink_options *options)
{
    (void)options;
    struct jsonl_sink *s = xcalloc(1, sizeof *s);
    if (output_open(&s->out, rest) < 0) {
        free(s);
        return -1;
    }
    *self = s;
    return 0;
}

static int sink_jsonl_put(void *self, const struct record *r)
{
    struct jsonl_sink *s = self;
    s->line.len = 0;
    record_to_json(r, &s->line);
    buf_append(&s->line, "\n", 1);
    return output_write(s->out, s->line.data, s->line.len);
}

static int sink_jsonl_finish(void *self)
{
    struct jsonl_sink *s = self;
    return output_finish(s->out);
}

static void sink_jsonl_close(void *self)
{
    struct jsonl_sink *s = self;
    output_close(&s->out);
    buf_free(&s->line);
    free(s);
}

const struct source_kind source_jsonl = {.scheme = "jsonl",
                                         .foreign = true,
                                         .open = source_jsonl_open,
                                         .next = source_jsonl_next,
                                         .fraction = source_jsonl_fraction,
                                         .close = source_jsonl_close};
const struct sink_kind sink_jsonl = {.scheme = "jsonl",
                                     .foreign = true,
                                     .open = sink_jsonl_open,
                                     .put = sink_jsonl_put,
                                     .finish = sink_jsonl_finish,
                                     .close = sink_jsonl_close};
