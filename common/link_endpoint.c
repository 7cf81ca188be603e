/*
 * Links as a source and as a sink (endpoint.h), with a thread each (link_port.h).
 *
 * What a program reads from a link it acknowledges when its sink says that all that came of it is stored. A program
 * that reads from elsewhere starts the chain: what it has on its way at once is bounded, which bounds everything behind
 * it, the store's window among it. Programs in between bound what waits for a worker only: holding back more could hold
 * back the very record that all wait for.
 */
#include "common/clock.h"
#include "common/endpoint.h"
#include "common/err.h"
#include "common/link_port.h"
#include "common/log.h"
#include "common/stage.h"
#include "common/stage_counts.h"
#include <stdlib.h>

#define CREDIT_ITEMS 96 /* with batches of 64: one being worked on, one waiting */
#define CREDIT_BYTES ((uint64_t)8 << 20)
#define WINDOW_ITEMS 16384
#define WINDOW_BYTES ((uint64_t)48 << 20)
#define PENDING_ITEMS 1024
#define PENDING_BYTES ((uint64_t)16 << 20)
#define BATCH_BYTES ((size_t)1 << 20)
#define CUT_BYTES ((size_t)32 << 20) /* of what came of one batch */
#define BATCH_SECONDS 0.1
#define IDLE_MS 20
#define IDLE_SECONDS 1.0 /* until that nothing comes is said again */
#define STOP_SECONDS 5.0 /* for what is on its way, after a signal */

struct link_source {
    struct link_port *port;
    struct link_batch batch;
    struct link_records records;
    bool open;   /* a batch is being read */
    double idle; /* when that nothing comes was said; 0: something came since */
    uint64_t total;
};

static int source_link_open(void **self, const char *uri, const struct source_options *options)
{
    struct link_source *s = xcalloc(1, sizeof *s);
    struct link_port_options o = {.link = {.role = LINK_WORKER,
                                           .run = options->run,
                                           .credit_items = CREDIT_ITEMS,
                                           .credit_bytes = CREDIT_BYTES,
                                           .keys = options->link.keys,
                                           .insecure = options->link.insecure}};
    if (link_port_open(&s->port, uri, &o) < 0) {
        free(s);
        return -1;
    }
    *self = s;
    return 0;
}

/* The next batch, or what else there is to say. */
static int take_batch(struct link_source *s)
{
    for (;;) {
        int got = link_port_take(s->port, &s->batch, IDLE_MS);
        if (got < 0)
            return -1;
        if (got > 0)
            break;
        if (stage_stopping())
            return err_set(ERR_AGAIN, "the link was left after a signal");
        if (link_port_has_ended(s->port, &s->total))
            return SOURCE_END;
        double now = clock_now();
        if (now - s->idle >= IDLE_SECONDS) {
            s->idle = now;
            return SOURCE_IDLE;
        }
    }
    s->idle = 0;
    s->open = true;
    s->records.at = zmq_msg_data(&s->batch.body);
    s->records.end = s->records.at + zmq_msg_size(&s->batch.body);
    return SOURCE_BATCH;
}

static uint64_t close_batch(struct link_source *s)
{
    s->open = false;
    zmq_msg_close(&s->batch.body);
    return s->batch.ticket;
}

static uint64_t source_link_pass(void *self)
{
    struct link_source *s = self;
    link_port_pass(s->port, s->batch.ticket);
    return close_batch(s);
}

static void source_link_acknowledge(void *self, uint64_t ticket)
{
    struct link_source *s = self;
    link_port_ack(s->port, ticket);
}

static void source_link_fail(void *self, bool permanent, const char *why)
{
    struct link_source *s = self;
    if (s->open)
        link_port_nack(s->port, close_batch(s), permanent ? LINK_PERMANENT : LINK_RETRY, why);
}

static int source_link_next(void *self, struct record *r)
{
    struct link_source *s = self;
    for (;;) {
        const unsigned char *data;
        size_t len;
        int got = s->open ? SOURCE_BATCH : take_batch(s);
        if (got != SOURCE_BATCH || !link_record_next(&s->records, &data, &len))
            return got;
        if (record_unpack(r, data, len) == 0)
            return SOURCE_RECORD;
        log_warn("refused a batch: %s", err_text());
        source_link_fail(s, true, err_text());
    }
}

static uint64_t source_link_total(const void *self)
{
    const struct link_source *s = self;
    return s->total;
}

static void source_link_confirm_end(void *self)
{
    struct link_source *s = self;
    link_port_confirm_end(s->port);
}

static bool source_link_is_forsaken(void *self)
{
    struct link_source *s = self;
    return link_port_is_forsaken(s->port);
}

static void source_link_leave(void *self)
{
    struct link_source *s = self;
    if (s->open)
        link_port_nack(s->port, close_batch(s), LINK_RETURN, "the worker leaves");
    link_port_retire(s->port);
}

static void source_link_close(void *self)
{
    struct link_source *s = self;
    source_link_leave(s);
    link_port_close(&s->port);
    free(s);
}

static void source_link_print(void *self, struct buf *out)
{
    struct link_source *s = self;
    link_port_print(s->port, out);
}

struct link_sink {
    struct link_port *port;
    struct sink_options options;
    bool relays; /* what it gets came over a link */
    struct buf body;
    uint32_t items;
    double begun; /* the batch */
    uint64_t total;
};

static int sink_link_open(void **self, const char *uri, const struct sink_options *options)
{
    struct link_sink *s = xcalloc(1, sizeof *s);
    s->options = *options;
    s->relays = options->stored != NULL;
    struct link_port_options o = {.link = {.role = LINK_FEEDER,
                                           .run = options->run,
                                           .keys = options->link.keys,
                                           .insecure = options->link.insecure},
                                  .pending_items = PENDING_ITEMS,
                                  .pending_bytes = PENDING_BYTES,
                                  .open_items = s->relays ? 0 : WINDOW_ITEMS,
                                  .open_bytes = s->relays ? 0 : WINDOW_BYTES,
                                  .settled = options->stored,
                                  .context = options->context};
    if (link_port_open(&s->port, uri, &o) < 0) {
        free(s);
        return -1;
    }
    *self = s;
    return 0;
}

static int feed(struct link_sink *s)
{
    zmq_msg_t body;
    uint32_t items = s->items;
    if (items == 0)
        return 0;
    s->items = 0;
    link_body(&body, &s->body);
    return link_port_feed(s->port, &body, items);
}

static int feed_and_seal(struct link_sink *s, uint64_t ticket)
{
    if (feed(s) < 0)
        return -1;
    link_port_seal(s->port, ticket);
    return 0;
}

static int sink_link_put(void *self, const struct record *r)
{
    struct link_sink *s = self;
    if (s->relays && s->body.len > CUT_BYTES && feed(s) < 0)
        return -1;
    if (s->items == 0)
        s->begun = clock_now();
    link_record_pack(&s->body, r);
    s->items++;
    bool whole =
        s->items >= s->options.link.batch || s->body.len >= BATCH_BYTES || clock_now() - s->begun > BATCH_SECONDS;
    return s->relays || !whole ? 0 : feed_and_seal(s, 0);
}

static int sink_link_mark(void *self, uint64_t ticket)
{
    return feed_and_seal(self, ticket);
}

static void sink_link_total(void *self, uint64_t total)
{
    struct link_sink *s = self;
    s->total = total;
}

static int sink_link_finish(void *self)
{
    struct link_sink *s = self;
    /* Who was told that all is stored has nothing on its way but copies. */
    if (!s->relays) {
        int all = feed_and_seal(s, 0) < 0 ? -1 : link_port_drain(s->port, STOP_SECONDS);
        if (all <= 0)
            return all < 0 ? -1 : err_set(ERR_AGAIN, "stopped by a signal before all was stored");
    }
    link_port_end(s->port, s->total);
    for (;;) {
        int told = link_port_end_told(s->port);
        if (told != 0)
            return told < 0 ? -1 : 0;
        /* Late where all have left already, nobody waits for what becomes of it. */
        if (stage_stopping() || (s->relays && s->options.is_forsaken(s->options.context)))
            return 1;
    }
}

/* What is not stored by then comes again: from where it came, or from the store's cursor on. */
static int sink_link_stop(void *self)
{
    struct link_sink *s = self;
    return link_port_drain(s->port, STOP_SECONDS) < 0 ? -1 : 0;
}

static void sink_link_close(void *self)
{
    struct link_sink *s = self;
    link_port_close(&s->port);
    buf_free(&s->body);
    free(s);
}

static void sink_link_print(void *self, struct buf *out)
{
    struct link_sink *s = self;
    link_port_print(s->port, out);
}

static const struct source_batches link_batches = {.pass = source_link_pass,
                                                   .acknowledge = source_link_acknowledge,
                                                   .fail = source_link_fail,
                                                   .leave = source_link_leave,
                                                   .total = source_link_total,
                                                   .confirm_end = source_link_confirm_end,
                                                   .is_forsaken = source_link_is_forsaken};
const struct source_kind source_link = {.scheme = "://",
                                        .open = source_link_open,
                                        .next = source_link_next,
                                        .close = source_link_close,
                                        .batches = &link_batches,
                                        .print = source_link_print};
const struct sink_kind sink_link = {.scheme = "://",
                                    .open = sink_link_open,
                                    .put = sink_link_put,
                                    .finish = sink_link_finish,
                                    .stop = sink_link_stop,
                                    .close = sink_link_close,
                                    .mark = sink_link_mark,
                                    .total = sink_link_total,
                                    .print = sink_link_print};
