/*
 * atelier-queue: where several feeders and several workers of one run meet.
 *
 *     atelier-queue --in tcp://127.0.0.1:5555 --out tcp://127.0.0.1:5556
 *     atelier tokenize --in ... --out tcp://127.0.0.1:5555        any number of these
 *     atelier encode --in tcp://127.0.0.1:5556 --out ...          and of these, at any time
 *
 * It binds both addresses. It keeps nothing of its own: a batch is acknowledged where it came from when it is
 * acknowledged where it went, so a queue that is killed and started again loses nothing.
 */
#include "common/clock.h"
#include "common/err.h"
#include "common/link.h"
#include "common/log.h"
#include "common/monitor.h"
#include "common/stage.h"
#include "common/stage_counts.h"
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define CREDIT_ITEMS 4096 /* for each feeder */
#define CREDIT_BYTES ((uint64_t)16 << 20)
#define PENDING_ITEMS 1024 /* that wait for a worker; the rest waits with the feeders */
#define PENDING_BYTES ((uint64_t)16 << 20)
#define POLL_MS 100
#define STOP_SECONDS 5.0 /* for what is on its way, after a signal */

enum { KEY_IN = 256, KEY_OUT, KEY_RUN, KEY_KEYS, KEY_INSECURE, KEY_METRICS, KEY_LOG };

struct queue {
    const char *in, *out, *run, *keys, *metrics;
    bool insecure, json_log;
    struct link *from, *to;
    struct monitor *server;
    pthread_mutex_t lock; /* of what the metrics' thread is shown */
    struct link_counts from_counts, to_counts;
};

static const struct argp_option options[] = {
    {"in", KEY_IN, "URI", 0, "Where feeders connect: tcp://HOST:PORT or ipc://PATH", 0},
    {"out", KEY_OUT, "URI", 0, "Where workers connect", 0},
    {"run", KEY_RUN, "NAME", 0, "The run that the records belong to; ends of another are refused", 0},
    {"keys", KEY_KEYS, "DIR", 0, "Keys for links between hosts (atelier keys DIR)", 0},
    {"insecure", KEY_INSECURE, NULL, 0, "Let links reach other hosts without keys", 0},
    {"metrics", KEY_METRICS, "HOST:PORT", 0, "Serve /metrics, /healthz and /readyz there (or at a socket's PATH)", 0},
    {"log", KEY_LOG, "FORMAT", 0, "Messages as text (default) or json", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct queue *q = state->input;
    switch (key) {
    case KEY_IN:
        q->in = arg;
        return 0;
    case KEY_OUT:
        q->out = arg;
        return 0;
    case KEY_RUN:
        q->run = arg;
        return 0;
    case KEY_KEYS:
        q->keys = arg;
        return 0;
    case KEY_INSECURE:
        q->insecure = true;
        return 0;
    case KEY_METRICS:
        q->metrics = arg;
        return 0;
    case KEY_LOG:
        q->json_log = strcmp(arg, "json") == 0;
        if (!q->json_log && strcmp(arg, "text") != 0)
            argp_error(state, "--log: '%s' is not text or json", arg);
        return 0;
    case ARGP_KEY_END:
        if (q->in == NULL || q->out == NULL)
            argp_error(state, "--in URI and --out URI are needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int bind_link(struct link **l, const char *uri, const struct link_options *o)
{
    char *bound = xasprintf("%s%s", strncmp(uri, "bind+", strlen("bind+")) == 0 ? "" : "bind+", uri);
    int rc = link_open(l, bound, o);
    free(bound);
    return rc;
}

static int open_links(struct queue *q)
{
    const struct link_options from = {.role = LINK_WORKER,
                                      .run = q->run,
                                      .credit_items = CREDIT_ITEMS,
                                      .credit_bytes = CREDIT_BYTES,
                                      .keys = q->keys,
                                      .insecure = q->insecure};
    const struct link_options to = {.role = LINK_FEEDER, .run = q->run, .keys = q->keys, .insecure = q->insecure};
    return bind_link(&q->from, q->in, &from) < 0 || bind_link(&q->to, q->out, &to) < 0 ? -1 : 0;
}

static void print_metrics(void *self, struct buf *out)
{
    struct queue *q = self;
    pthread_mutex_lock(&q->lock);
    struct link_counts from = q->from_counts, to = q->to_counts;
    pthread_mutex_unlock(&q->lock);
    link_counts_print(&from, out);
    link_counts_print(&to, out);
}

static void show_metrics(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->from_counts = *link_counts(q->from);
    q->to_counts = *link_counts(q->to);
    pthread_mutex_unlock(&q->lock);
}

/* Batches onwards, acknowledgements back. */
static void move(struct queue *q)
{
    const struct link_counts *c = link_counts(q->to);
    struct link_batch batch;
    uint64_t ticket;
    while (c->pending_items < PENDING_ITEMS && c->pending_bytes < PENDING_BYTES && link_take(q->from, &batch)) {
        link_feed(q->to, &batch.body, batch.items, batch.sum);
        link_seal(q->to, batch.ticket);
        link_pass(q->from, batch.ticket);
    }
    while (link_next_settled(q->to, &ticket))
        link_ack(q->from, ticket);
}

static int serve(struct queue *q)
{
    zmq_pollitem_t items[2] = {{.socket = link_socket(q->from), .events = ZMQ_POLLIN},
                               {.socket = link_socket(q->to), .events = ZMQ_POLLIN}};
    bool ending = false, told = false, stopping = false;
    double now, deadline = 0;
    do {
        uint64_t total;
        zmq_poll(items, 2, POLL_MS);
        now = clock_now();
        if (link_service(q->from, now) < 0 || link_service(q->to, now) < 0)
            return -1;
        move(q);
        if (!ending && link_has_ended(q->from, &total)) {
            ending = true;
            link_end(q->to, total);
        }
        if (!told && link_end_is_told(q->to, now)) {
            told = true;
            link_confirm_end(q->from);
        }
        if (!stopping && stage_stopping()) {
            stopping = true;
            deadline = now + STOP_SECONDS;
            link_retire(q->from);
        }
        /* What was moved goes out now; what came meanwhile is left to end the next wait. */
        link_flush(q->from, now);
        link_flush(q->to, now);
        show_metrics(q);
    } while (stopping ? link_counts(q->to)->open_items > 0 && now < deadline : !link_end_is_heard(q->from, now));
    return 0;
}

int main(int argc, char **argv)
{
    const struct argp argp = {.options = options, .parser = parse, .doc = "Where feeders and workers of a run meet."};
    struct queue q = {.lock = PTHREAD_MUTEX_INITIALIZER};
    argp_program_version = "atelier-queue " ATELIER_VERSION;
    argp_err_exit_status = ERR_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &q) != 0)
        mem_gone(0);
    log_open("queue", q.json_log);
    stage_catch_signals();
    const struct monitor_view view = {print_metrics, &q};
    int rc = open_links(&q);
    if (rc == 0)
        show_metrics(&q);
    if (rc == 0 && q.metrics)
        rc = monitor_open(&q.server, q.metrics, q.insecure, &view);
    if (rc == 0 && q.server)
        monitor_set_ready(q.server);
    rc = rc < 0 ? -1 : serve(&q);
    if (rc < 0) {
        log_error("%s", err_text());
    } else {
        const struct link_counts *c = link_counts(q.to);
        log_info("%" PRIu64 " records in %" PRIu64 " batches, %" PRIu64 " resent, %" PRIu64 " workers died, %" PRIu64
                 " poisoned%s",
                 c->items, c->batches, c->resent, c->deaths, c->poisoned,
                 stage_stopping() ? ", stopped by a signal" : "");
    }
    monitor_close(&q.server);
    link_close(&q.from);
    link_close(&q.to);
    return rc < 0 ? err_code() : 0;
}
