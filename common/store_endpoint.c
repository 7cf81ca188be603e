/*
 * The kind "lmdb": the store as a source and as a sink (endpoint.h). A damaged record comes out as a reject.
 */
#include "common/clock.h"
#include "common/endpoint.h"
#include "common/err.h"
#include "common/log.h"
#include "common/monitor.h"
#include "common/stage_counts.h"
#include "common/store.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define STUCK_SECONDS 10.0 /* until it is said for which record all others wait */

struct store_source {
    struct store *store;
    char *path;
    uint64_t next;
};

static int source_lmdb_open(void **self, const char *rest, const struct source_options *options)
{
    struct store *store;
    if (store_open_read(&store, rest) < 0)
        return -1;
    struct store_source *s = xcalloc(1, sizeof *s);
    *s = (struct store_source){store, xstrdup(rest), options->from};
    *self = s;
    return 0;
}

static int source_lmdb_next(void *self, struct record *r)
{
    struct store_source *s = self;
    if (s->next >= store_cursor(s->store))
        return 0;
    uint64_t id = s->next++;
    int found = store_get(s->store, id, r);
    if (found > 0 || (found < 0 && err_code() != ERR_DATA))
        return found;
    record_clear(r);
    record_set_u64(r, FIELD_ID, id);
    record_set_key(r, "%s:%" PRIu64, s->path, id);
    if (found < 0)
        record_reject(r, "store: %s", err_text());
    else
        record_reject(r, "store: the id is missing");
    return 1;
}

static double source_lmdb_fraction(const void *self)
{
    const struct store_source *s = self;
    uint64_t end = store_cursor(s->store);
    return end > 0 ? (double)s->next / (double)end : 1;
}

static void source_lmdb_close(void *self)
{
    struct store_source *s = self;
    store_close(&s->store);
    free(s->path);
    free(s);
}

/* A link's batch whose records were put. */
struct mark {
    uint64_t ticket, end; /* stored when all ids below `end` are committed */
};

struct store_sink {
    struct store *store; /* NULL: finished */
    char *path;
    uint64_t known; /* records whose ids it held already */
    const struct sink_options options;
    uint64_t end;       /* over the ids put since the last mark */
    uint64_t committed; /* as tell_stored saw it */
    uint64_t missing;   /* id that was next when last looked */
    double since;       /* it is, and others wait for it; 0: that was said */
    struct mark *marks;
    size_t count, cap;
};

static int sink_lmdb_open(void **self, const char *rest, const struct sink_options *options)
{
    struct store *store;
    if (store_open_write(&store, rest, options->run) < 0)
        return -1;
    if (options->stored)
        store_let_wait(store);
    struct store_sink s = {.store = store, .path = xstrdup(rest), .options = *options, .missing = UINT64_MAX};
    *self = memcpy(xmalloc(sizeof s), &s, sizeof s);
    return 0;
}

/* Says of which batches the records are durable by now. */
static void tell_stored(struct store_sink *s)
{
    uint64_t committed = store_committed(s->store);
    size_t left = 0;
    __atomic_store_n(&s->committed, committed, __ATOMIC_RELAXED);
    for (size_t i = 0; i < s->count; i++) {
        if (s->marks[i].end <= committed)
            s->options.stored(s->options.context, s->marks[i].ticket);
        else
            s->marks[left++] = s->marks[i];
    }
    s->count = left;
}

static int sink_lmdb_put(void *self, const struct record *r)
{
    struct store_sink *s = self;
    s->known += record_has(r, FIELD_ID) && r->id < store_cursor(s->store);
    if (r->id >= s->end)
        s->end = r->id + 1;
    return store_put(s->store, r);
}

static int sink_lmdb_mark(void *self, uint64_t ticket)
{
    struct store_sink *s = self;
    if (s->count == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 64;
        s->marks = xrealloc(s->marks, s->cap * sizeof *s->marks);
    }
    s->marks[s->count++] = (struct mark){ticket, s->end};
    s->end = 0;
    tell_stored(s);
    return 0;
}

/* A source that begins behind the cursor is fed on for ever: its first records wait for those that it left out. */
static void watch_missing(struct store_sink *s)
{
    uint64_t cursor = store_cursor(s->store);
    double now = clock_now();
    if (store_waiting(s->store) == 0 || cursor != s->missing) {
        s->missing = cursor;
        s->since = now;
    } else if (s->since > 0 && now - s->since >= STUCK_SECONDS) {
        log_warn("%s: id %" PRIu64 " has not come for %.0f s, and %zu records behind it wait: a program works on it "
                 "still, or the source was told to begin behind it (it should say --from %" PRIu64 ")",
                 s->path, cursor, now - s->since, store_waiting(s->store), cursor);
        s->since = 0;
    }
}

static int sink_lmdb_sync(void *self)
{
    struct store_sink *s = self;
    if (store_commit(s->store) < 0)
        return -1;
    tell_stored(s);
    watch_missing(s);
    return 0;
}

static void sink_lmdb_print(void *self, struct buf *out)
{
    const struct store_sink *s = self;
    monitor_add(out, "store_committed_total", "", __atomic_load_n(&s->committed, __ATOMIC_RELAXED));
}

static uint64_t sink_lmdb_done(const void *self)
{
    return store_cursor(((const struct store_sink *)self)->store);
}

static int sink_lmdb_finish(void *self)
{
    struct store_sink *s = self;
    /* What an interrupted run resumes with; but other data into a store that is not empty looks the same. */
    if (s->known > 0)
        log_info("%s held %" PRIu64 " of these ids already: those records were left as they are", s->path, s->known);
    return store_close(&s->store);
}

/* What a link brought and is not stored comes again. */
static int sink_lmdb_stop(void *self)
{
    struct store_sink *s = self;
    if (s->options.stored) {
        store_forget_waiting(s->store);
        if (sink_lmdb_sync(s) < 0)
            return -1;
    }
    return store_close(&s->store);
}

/* Closing without finish: what came in order is kept; what fails now is not the first failure. */
static void sink_lmdb_close(void *self)
{
    struct store_sink *s = self;
    if (s->store)
        store_close(&s->store);
    free(s->path);
    free(s->marks);
    free(s);
}

const struct source_kind source_lmdb = {.scheme = "lmdb",
                                        .open = source_lmdb_open,
                                        .next = source_lmdb_next,
                                        .fraction = source_lmdb_fraction,
                                        .close = source_lmdb_close};
const struct sink_kind sink_lmdb = {.scheme = "lmdb",
                                    .open = sink_lmdb_open,
                                    .put = sink_lmdb_put,
                                    .done = sink_lmdb_done,
                                    .finish = sink_lmdb_finish,
                                    .stop = sink_lmdb_stop,
                                    .mark = sink_lmdb_mark,
                                    .sync = sink_lmdb_sync,
                                    .print = sink_lmdb_print,
                                    .close = sink_lmdb_close};
