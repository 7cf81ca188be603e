/*
 * A link with a thread of its own (link_port.h). Other threads leave orders for it and wake it through an eventfd; what
 * comes of them it publishes under the lock.
 */
#include "common/link_port.h"
#include "common/clock.h"
#include "common/crc32c.h"
#include "common/err.h"
#include "common/stage.h"
#include "common/stage_counts.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS 100
#define WAIT_MS 100     /* of waiting threads, which then look whether to stop */
#define CLOSE_SECONDS 5 /* at most, for the last messages of a worker */

enum order_kind {
    ORDER_FEED,
    ORDER_SEAL,
    ORDER_END,
    ORDER_PASS,
    ORDER_ACK,
    ORDER_NACK,
    ORDER_RETIRE,
    ORDER_CONFIRM_END
};

struct order {
    enum order_kind kind;
    uint32_t items, sum;
    uint64_t ticket; /* END: the total */
    zmq_msg_t body;
    enum link_nack nack;
    char *why;
};

struct orders {
    struct order *data;
    size_t len, cap;
};

struct link_port {
    struct link *link;
    struct link_port_options options;
    pthread_t thread;
    int wake; /* eventfd */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct orders orders;
    struct link_counts counts;
    uint64_t ordered_items, ordered_bytes; /* fed, not yet known to the link */
    struct link_batch next;
    bool has_next, retired, ended, confirmed, forsaken, end_told, closing, failed;
    uint64_t total;
    char *error; /* why it failed */
    int error_code;
};

static void carry_out(struct link_port *p, struct order *o)
{
    switch (o->kind) {
    case ORDER_FEED:
        link_feed(p->link, &o->body, o->items, o->sum);
        break;
    case ORDER_SEAL:
        link_seal(p->link, o->ticket);
        break;
    case ORDER_PASS:
        link_pass(p->link, o->ticket);
        break;
    case ORDER_ACK:
        link_ack(p->link, o->ticket);
        break;
    case ORDER_NACK:
        link_nack(p->link, o->ticket, o->nack, o->why);
        free(o->why);
        break;
    case ORDER_RETIRE:
        link_retire(p->link);
        p->retired = true;
        break;
    case ORDER_END:
        link_end(p->link, o->ticket);
        break;
    case ORDER_CONFIRM_END:
        link_confirm_end(p->link);
        p->confirmed = true;
        break;
    }
}

/* One batch waits for the program; once that leaves, the batch goes back. */
static void offer_next(struct link_port *p)
{
    if (!p->has_next && !p->retired)
        p->has_next = link_take(p->link, &p->next);
    if (!p->has_next || !p->retired)
        return;
    link_nack(p->link, p->next.ticket, LINK_RETURN, "the worker leaves");
    zmq_msg_close(&p->next.body);
    p->has_next = false;
}

/* Makes known how the link stands. */
static void publish(struct link_port *p, double now, int rc, uint64_t given_items, uint64_t given_bytes)
{
    bool worker = p->options.link.role == LINK_WORKER;
    pthread_mutex_lock(&p->lock);
    p->ordered_items -= given_items;
    p->ordered_bytes -= given_bytes;
    p->counts = *link_counts(p->link);
    if (rc < 0 && !p->failed) {
        p->failed = true;
        p->error = xstrdup(err_text());
        p->error_code = err_code();
    }
    if (worker) {
        offer_next(p);
        p->ended = link_has_ended(p->link, &p->total);
        p->forsaken = link_is_forsaken(p->link, now);
    } else {
        p->end_told = link_end_is_told(p->link, now);
    }
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static void *serve(void *self)
{
    struct link_port *p = self;
    struct orders spare = {0};
    zmq_pollitem_t items[2] = {{.socket = link_socket(p->link), .events = ZMQ_POLLIN},
                               {.fd = p->wake, .events = ZMQ_POLLIN}};
    double deadline = 0;
    for (;;) {
        pthread_mutex_lock(&p->lock);
        struct orders given = p->orders;
        uint64_t items_given = p->ordered_items, bytes_given = p->ordered_bytes, ticket;
        bool closing = p->closing;
        p->orders = spare;
        pthread_mutex_unlock(&p->lock);
        for (size_t i = 0; i < given.len; i++)
            carry_out(p, &given.data[i]);
        given.len = 0;
        spare = given;

        double now = clock_now();
        int rc = link_service(p->link, now);
        while (p->options.link.role == LINK_FEEDER && link_next_settled(p->link, &ticket))
            if (p->options.settled)
                p->options.settled(p->options.context, ticket);
        publish(p, now, rc, items_given, bytes_given);

        /* Other feeders are to learn, too, that the end is known. */
        deadline = closing && deadline == 0 ? now + CLOSE_SECONDS : deadline;
        if (closing && (rc < 0 || now > deadline || !p->confirmed || link_end_is_heard(p->link, now)))
            break;
        uint64_t woken;
        if (zmq_poll(items, 2, POLL_MS) > 0 && items[1].revents && read(p->wake, &woken, sizeof woken) < 0)
            break;
    }
    free(spare.data);
    return NULL;
}

int link_port_open(struct link_port **out, const char *uri, const struct link_port_options *options)
{
    struct link *l;
    if (link_open(&l, uri, &options->link) < 0)
        return -1;
    struct link_port *p = xcalloc(1, sizeof *p);
    p->link = l;
    p->options = *options;
    p->counts = *link_counts(l);
    p->wake = eventfd(0, EFD_CLOEXEC);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int rc = p->wake < 0 ? -1 : pthread_create(&p->thread, NULL, serve, p);
    if (rc != 0) {
        err_set(ERR_AGAIN, "%s: cannot start a thread", uri);
        link_close(&p->link);
        free(p);
        return -1;
    }
    *out = p;
    return 0;
}

static void awake(struct link_port *p)
{
    uint64_t one = 1;
    if (write(p->wake, &one, sizeof one) < 0)
        abort(); /* an eventfd refuses only what overflows it */
}

void link_port_close(struct link_port **pointer)
{
    struct link_port *p = *pointer;
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    p->closing = true;
    pthread_mutex_unlock(&p->lock);
    awake(p);
    pthread_join(p->thread, NULL);
    for (size_t i = 0; i < p->orders.len; i++)
        carry_out(p, &p->orders.data[i]);
    if (p->has_next)
        zmq_msg_close(&p->next.body);
    link_close(&p->link);
    close(p->wake);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->changed);
    free(p->orders.data);
    free(p->error);
    free(p);
    *pointer = NULL;
}

/* With the lock held. */
static void order(struct link_port *p, const struct order *o)
{
    if (p->orders.len == p->orders.cap) {
        p->orders.cap = p->orders.cap ? 2 * p->orders.cap : 64;
        p->orders.data = xrealloc(p->orders.data, p->orders.cap * sizeof *p->orders.data);
    }
    p->orders.data[p->orders.len++] = *o;
    if (p->orders.len == 1)
        awake(p);
}

static void leave(struct link_port *p, struct order o)
{
    pthread_mutex_lock(&p->lock);
    order(p, &o);
    pthread_mutex_unlock(&p->lock);
}

/* Waits for a change, or a little: with the lock held. */
static void wait_change(struct link_port *p, int milliseconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += milliseconds * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_cond_timedwait(&p->changed, &p->lock, &until);
}

static int failure(const struct link_port *p)
{
    return p->failed ? err_set(p->error_code, "%s", p->error)
                     : err_set(ERR_AGAIN, "stopped by a signal before all was stored");
}

static bool over(uint64_t value, uint64_t bound)
{
    return bound > 0 && value >= bound;
}

static bool is_full(const struct link_port *p)
{
    const struct link_port_options *o = &p->options;
    return over(p->counts.open_items + p->ordered_items, o->open_items) ||
           over(p->counts.open_bytes + p->ordered_bytes, o->open_bytes) ||
           over(p->counts.pending_items + p->ordered_items, o->pending_items) ||
           over(p->counts.pending_bytes + p->ordered_bytes, o->pending_bytes);
}

int link_port_feed(struct link_port *p, zmq_msg_t *body, uint32_t items)
{
    uint32_t sum = crc32c(0, zmq_msg_data(body), zmq_msg_size(body)); /* the port's thread is to be quick */
    pthread_mutex_lock(&p->lock);
    while (is_full(p) && !p->failed && !stage_stopping())
        wait_change(p, WAIT_MS);
    int rc = p->failed || stage_stopping() ? failure(p) : 0;
    if (rc == 0) {
        p->ordered_items += items;
        p->ordered_bytes += zmq_msg_size(body);
        order(p, &(struct order){.kind = ORDER_FEED, .items = items, .sum = sum, .body = *body});
    } else {
        zmq_msg_close(body);
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

void link_port_seal(struct link_port *p, uint64_t ticket)
{
    leave(p, (struct order){.kind = ORDER_SEAL, .ticket = ticket});
}

int link_port_drain(struct link_port *p, double seconds)
{
    double deadline = 0;
    pthread_mutex_lock(&p->lock);
    while ((p->counts.open_items > 0 || p->ordered_items > 0) && !p->failed) {
        double now = clock_now();
        if (stage_stopping() && deadline == 0)
            deadline = now + seconds;
        if (deadline > 0 && now >= deadline)
            break;
        wait_change(p, WAIT_MS);
    }
    int rc = p->failed ? failure(p) : p->counts.open_items == 0;
    pthread_mutex_unlock(&p->lock);
    return rc;
}

void link_port_end(struct link_port *p, uint64_t total)
{
    leave(p, (struct order){.kind = ORDER_END, .ticket = total});
}

int link_port_end_told(struct link_port *p)
{
    pthread_mutex_lock(&p->lock);
    if (!p->end_told && !p->failed)
        wait_change(p, WAIT_MS);
    int rc = p->failed ? failure(p) : p->end_told;
    pthread_mutex_unlock(&p->lock);
    return rc;
}

int link_port_take(struct link_port *p, struct link_batch *batch, int milliseconds)
{
    pthread_mutex_lock(&p->lock);
    if (!p->has_next && !p->failed)
        wait_change(p, milliseconds);
    int rc = p->failed ? failure(p) : p->has_next;
    if (rc > 0) {
        *batch = p->next;
        p->has_next = false;
        awake(p);
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

void link_port_pass(struct link_port *p, uint64_t ticket)
{
    leave(p, (struct order){.kind = ORDER_PASS, .ticket = ticket});
}

void link_port_ack(struct link_port *p, uint64_t ticket)
{
    leave(p, (struct order){.kind = ORDER_ACK, .ticket = ticket});
}

void link_port_nack(struct link_port *p, uint64_t ticket, enum link_nack kind, const char *why)
{
    leave(p, (struct order){.kind = ORDER_NACK, .ticket = ticket, .nack = kind, .why = xstrdup(why)});
}

void link_port_retire(struct link_port *p)
{
    leave(p, (struct order){.kind = ORDER_RETIRE});
}

bool link_port_has_ended(struct link_port *p, uint64_t *total)
{
    pthread_mutex_lock(&p->lock);
    bool ended = p->ended && !p->has_next;
    *total = p->total;
    pthread_mutex_unlock(&p->lock);
    return ended;
}

void link_port_confirm_end(struct link_port *p)
{
    leave(p, (struct order){.kind = ORDER_CONFIRM_END});
}

bool link_port_is_forsaken(struct link_port *p)
{
    pthread_mutex_lock(&p->lock);
    bool forsaken = p->forsaken;
    pthread_mutex_unlock(&p->lock);
    return forsaken;
}

void link_port_print(struct link_port *p, struct buf *out)
{
    pthread_mutex_lock(&p->lock);
    struct link_counts counts = p->counts;
    pthread_mutex_unlock(&p->lock);
    link_counts_print(&counts, out);
}
