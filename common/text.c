/*
 * The kind "text": one caption a line. Record n is line n + 1, empty lines too. The sink writes a caption's line breaks
 * as spaces, so that a line stays a record.
 */
#include "common/endpoint.h"
#include "common/input.h"
#include "common/output.h"
#include <stdlib.h>

struct text_source {
    struct input *in;
    struct buf line;
    uint64_t id;
};

struct text_sink {
    struct output *out;
    struct buf line;
};

static int source_text_open(void **self, const char *rest, const struct source_options *options)
{
    (void)options;
    struct text_source *s = xcalloc(1, sizeof *s);
    if (input_open(&s->in, rest) < 0) {
        free(s);
        return -1;
    }
    *self = s;
    return 0;
}

static int source_text_next(void *self, struct record *r)
{
    struct text_source *s = self;
    uint64_t whole;
    int got = input_line(s->in, &s->line, record_fields[FIELD_CAPTION].limit, &whole);
    if (got <= 0)
        return got;
    record_clear(r);
    record_set_u64(r, FIELD_ID, s->id++);
    record_set_line_key(r, input_name(s->in), s->id);
    record_set_caption(r, s->line.data, s->line.len, whole);
    return 1;
}

static double source_text_fraction(const void *self)
{
    const struct text_source *s = self;
    return input_fraction(s->in);
}

static void source_text_close(void *self)
{
    struct text_source *s = self;
    input_close(&s->in);
    buf_free(&s->line);
    free(s);
}

static int sink_text_open(void **self, const char *rest, const struct sink_options *options)
{
    (void)options;
    struct text_sink *s = xcalloc(1, sizeof *s);
    if (output_open(&s->out, rest) < 0) {
        free(s);
        return -1;
    }
    *self = s;
    return 0;
}

static int sink_text_put(void *self, const struct record *r)
{
    struct text_sink *s = self;
    s->line.len = 0;
    if (record_has(r, FIELD_CAPTION))
        buf_append(&s->line, r->caption.data, r->caption.len);
    for (size_t i = 0; i < s->line.len; i++)
        if (s->line.data[i] == '\n' || s->line.data[i] == '\r')
            s->line.data[i] = ' ';
    buf_append(&s->line, "\n", 1);
    return output_write(s->out, s->line.data, s->line.len);
}

static int sink_text_finish(void *self)
{
    struct text_sink *s = self;
    return output_finish(s->out);
}

static void sink_text_close(void *self)
{
    struct text_sink *s = self;
    output_close(&s->out);
    buf_free(&s->line);
    free(s);
}

const struct source_kind source_text = {.scheme = "text",
                                        .foreign = true,
                                        .open = source_text_open,
                                        .next = source_text_next,
                                        .fraction = source_text_fraction,
                                        .close = source_text_close};
const struct sink_kind sink_text = {.scheme = "text",
                                    .foreign = true,
                                    .open = sink_text_open,
                                    .put = sink_text_put,
                                    .finish = sink_text_finish,
                                    .close = sink_text_close};
