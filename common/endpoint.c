/*
 * The kinds of sources and sinks by their schemes, and what is common to all (endpoint.h).
 */
#include "common/endpoint.h"
#include "common/err.h"
#include <stdlib.h>
#include <string.h>

static const struct source_kind *const source_kinds[] = {&source_stream, &source_jsonl, &source_text,
                                                         &source_tsv,    &source_tar,   &source_dir,
                                                         &source_lmdb,   &source_link,  NULL};
static const struct sink_kind *const sink_kinds[] = {&sink_stream, &sink_jsonl, &sink_text, &sink_tar,
                                                     &sink_dir,    &sink_lmdb,  &sink_link, NULL};
#define SINK_KINDS                                                                                                     \
    "known are -, jsonl:FILE, text:FILE, tar:PATTERN, dir:PATH, lmdb:PATH, tcp://HOST:PORT and ipc://PATH"
#define SOURCE_KINDS                                                                                                   \
    "known are -, jsonl:FILE, text:FILE, tsv:FILE#COLUMNS, tar:PATTERN, dir:PATH, lmdb:PATH, tcp://HOST:PORT and "     \
    "ipc://PATH"

struct source {
    const struct source_kind *kind;
    void *self;
    uint64_t from;
};

struct sink {
    const struct sink_kind *kind;
    void *self;
    bool keep_rejects;
};

/* What stands behind "scheme:", or NULL when the URI has another scheme. Of a link it is all. */
static const char *rest_of(const char *uri, const char *scheme)
{
    if (strcmp(scheme, "://") == 0)
        return strstr(uri, scheme) ? uri : NULL;
    if (strcmp(scheme, "-") == 0)
        return strcmp(uri, "-") == 0 ? uri : NULL;
    size_t len = strlen(scheme);
    return strncmp(uri, scheme, len) == 0 && uri[len] == ':' ? uri + len + 1 : NULL;
}

static void *refuse_empty(const char *uri)
{
    err_set(ERR_USAGE, "%s: the part behind '%.*s' is missing", uri, (int)strcspn(uri, ":") + 1, uri);
    return NULL;
}

/* Finds the kind whose scheme a URI has and what stands behind it; NULL with a usage error. */
static const struct source_kind *source_kind_of(const char *uri, const char **rest)
{
    for (const struct source_kind *const *kind = source_kinds; *kind; kind++)
        if ((*rest = rest_of(uri, (*kind)->scheme)) != NULL)
            return **rest ? *kind : refuse_empty(uri);
    err_set(ERR_USAGE, "%s: no kind of source; " SOURCE_KINDS, uri);
    return NULL;
}

static const struct sink_kind *sink_kind_of(const char *uri, const char **rest)
{
    for (const struct sink_kind *const *kind = sink_kinds; *kind; kind++)
        if ((*rest = rest_of(uri, (*kind)->scheme)) != NULL)
            return **rest ? *kind : refuse_empty(uri);
    err_set(ERR_USAGE, "%s: no kind of sink; " SINK_KINDS, uri);
    return NULL;
}

int source_open(struct source **s, const char *uri, const struct source_options *options)
{
    const char *rest;
    const struct source_kind *kind = source_kind_of(uri, &rest);
    void *self = NULL;
    if (kind == NULL)
        return -1;
    if (kind->open(&self, rest, options) < 0)
        return err_wrap("cannot read from %s", uri);
    *s = xmalloc(sizeof **s);
    **s = (struct source){kind, self, options->from};
    return 0;
}

int source_next(struct source *s, struct record *r)
{
    for (;;) {
        int got = s->kind->next(s->self, r);
        if (got != SOURCE_RECORD || !record_has(r, FIELD_ID) || r->id >= s->from)
            return got;
    }
}

double source_fraction(const struct source *s)
{
    return s->kind->fraction ? s->kind->fraction(s->self) : -1;
}

bool source_is_foreign(const struct source *s)
{
    return s->kind->foreign;
}

bool source_has_batches(const struct source *s)
{
    return s->kind->batches != NULL;
}

uint64_t source_pass(struct source *s)
{
    return s->kind->batches->pass(s->self);
}

void source_acknowledge(void *source, uint64_t ticket)
{
    const struct source *s = source;
    s->kind->batches->acknowledge(s->self, ticket);
}

void source_fail(struct source *s, bool permanent, const char *why)
{
    s->kind->batches->fail(s->self, permanent, why);
}

void source_print(struct source *s, struct buf *out)
{
    if (s->kind->print)
        s->kind->print(s->self, out);
}

void sink_print(struct sink *s, struct buf *out)
{
    if (s->kind->print)
        s->kind->print(s->self, out);
}

void source_leave(struct source *s)
{
    s->kind->batches->leave(s->self);
}

void source_confirm_end(struct source *s)
{
    s->kind->batches->confirm_end(s->self);
}

bool source_is_forsaken(void *source)
{
    const struct source *s = source;
    return s->kind->batches->is_forsaken(s->self);
}

uint64_t source_total(const struct source *s, uint64_t read)
{
    return s->kind->batches ? s->kind->batches->total(s->self) : s->from + read;
}

void source_close(struct source **s)
{
    if (*s == NULL)
        return;
    (*s)->kind->close((*s)->self);
    free(*s);
    *s = NULL;
}

int sink_check(const char *uri, bool *marks)
{
    const char *rest;
    const struct sink_kind *kind = sink_kind_of(uri, &rest);
    *marks = kind && kind->mark;
    return kind ? 0 : -1;
}

int sink_open(struct sink **s, const char *uri, const struct sink_options *options)
{
    const char *rest;
    const struct sink_kind *kind = sink_kind_of(uri, &rest);
    void *self = NULL;
    if (kind == NULL)
        return -1;
    if (kind->open(&self, rest, options) < 0)
        return err_wrap("cannot write to %s", uri);
    *s = xmalloc(sizeof **s);
    **s = (struct sink){kind, self, options->keep_rejects};
    return 0;
}

int sink_put(struct sink *s, const struct record *r)
{
    if (s->kind->foreign && record_has(r, FIELD_REJECT) && !s->keep_rejects)
        return 0;
    return s->kind->put(s->self, r);
}

int sink_finish(struct sink *s)
{
    return s->kind->finish(s->self);
}

bool sink_is_durable(const struct sink *s)
{
    return s->kind->stop != NULL;
}

int sink_stop(struct sink *s)
{
    return s->kind->stop(s->self);
}

int sink_mark(struct sink *s, uint64_t ticket)
{
    return s->kind->mark(s->self, ticket);
}

int sink_sync(struct sink *s)
{
    return s->kind->sync ? s->kind->sync(s->self) : 0;
}

void sink_total(struct sink *s, uint64_t total)
{
    if (s->kind->total)
        s->kind->total(s->self, total);
}

uint64_t sink_done(const struct sink *s)
{
    return s->kind->done ? s->kind->done(s->self) : 0;
}

void sink_close(struct sink **s)
{
    if (*s == NULL)
        return;
    (*s)->kind->close((*s)->self);
    free(*s);
    *s = NULL;
}
