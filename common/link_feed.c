/*
 * The feeder's side of a link: batches wait, are handed out within the workers' credits, come back when a worker dies,
 * and go when they are acknowledged (link.h).
 */
#include "common/err.h"
#include "common/link_private.h"
#include "common/log.h"
#include "common/record.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define END_WAIT_SECONDS 3.0         /* for peers to confirm the end, after one has */
#define END_UNCONFIRMED_SECONDS 10.0 /* until it is said that none does */
#define WHY_BYTES 200                /* of a reason, kept in a reject */

static void append(struct feed_list *list, struct feed_batch *b)
{
    b->previous = list->last;
    b->following = NULL;
    *(list->last ? &list->last->following : &list->first) = b;
    list->last = b;
}

static void prepend(struct feed_list *list, struct feed_batch *b)
{
    b->previous = NULL;
    b->following = list->first;
    *(list->first ? &list->first->previous : &list->last) = b;
    list->first = b;
}

static void detach(struct feed_list *list, struct feed_batch *b)
{
    *(b->previous ? &b->previous->following : &list->first) = b->following;
    *(b->following ? &b->following->previous : &list->last) = b->previous;
}

/* Before all that were never handed out: it holds up what comes behind it. */
static void wait_first(struct link *l, struct feed_batch *b)
{
    prepend(&l->pending, b);
    l->counts.pending_items += b->items;
    l->counts.pending_bytes += b->bytes;
}

static struct feed_batch *add_batch(struct link *l, zmq_msg_t *body, uint32_t items, uint32_t sum,
                                    struct feed_origin *origin)
{
    struct feed_batch *b = xcalloc(1, sizeof *b);
    b->number = link_ring_add(&l->batches, b);
    b->items = items;
    b->sum = sum;
    b->bytes = zmq_msg_size(body);
    b->origin = origin;
    b->body = *body;
    origin->open++;
    l->counts.open_items += items;
    l->counts.open_bytes += b->bytes;
    return b;
}

void link_feed(struct link *l, zmq_msg_t *body, uint32_t items, uint32_t sum)
{
    if (l->filling == NULL) {
        l->filling = xcalloc(1, sizeof *l->filling);
        l->filling->open = 1;
    }
    struct feed_batch *b = add_batch(l, body, items, sum, l->filling);
    append(&l->pending, b);
    l->counts.pending_items += items;
    l->counts.pending_bytes += b->bytes;
    l->counts.batches++;
    l->counts.items += items;
    l->counts.bytes += b->bytes;
}

/* The batch must be in no list. */
static void remove_batch(struct link *l, struct feed_batch *b)
{
    l->counts.open_items -= b->items;
    l->counts.open_bytes -= b->bytes;
    link_ring_remove(&l->batches, b->number);
    zmq_msg_close(&b->body);
    free(b);
}

static void push_settled(struct link *l, uint64_t ticket)
{
    if (l->settled_first + l->settled_count == l->settled_cap) {
        if (l->settled_first > 0)
            memmove(l->settled, l->settled + l->settled_first, l->settled_count * sizeof *l->settled);
        l->settled_first = 0;
        if (2 * l->settled_count >= l->settled_cap) {
            l->settled_cap = l->settled_cap ? 2 * l->settled_cap : 64;
            l->settled = xrealloc(l->settled, l->settled_cap * sizeof *l->settled);
        }
    }
    l->settled[l->settled_first + l->settled_count++] = ticket;
}

bool link_next_settled(struct link *l, uint64_t *ticket)
{
    if (l->settled_count == 0)
        return false;
    *ticket = l->settled[l->settled_first++];
    if (--l->settled_count == 0)
        l->settled_first = 0;
    return true;
}

static void close_one(struct link *l, struct feed_origin *origin)
{
    if (--origin->open > 0)
        return;
    l->counts.settled++;
    push_settled(l, origin->ticket);
    free(origin);
}

void link_seal(struct link *l, uint64_t ticket)
{
    if (l->filling == NULL) {
        push_settled(l, ticket);
        return;
    }
    l->filling->ticket = ticket;
    close_one(l, l->filling);
    l->filling = NULL;
}

static void take_back(struct link_peer *holder, struct feed_batch *b)
{
    if (!b->passed)
        holder->hand_items -= b->items;
    detach(&holder->held, b);
    b->holder = NULL;
    b->passed = false;
}

/* Cuts a batch that failed into its records, which come first in their order: one of them may be what kills workers. */
static void split(struct link *l, struct feed_batch *b)
{
    const unsigned char *data = zmq_msg_data(&b->body);
    size_t len = zmq_msg_size(&b->body);
    struct link_records records = {data, data + len};
    struct feed_list parts = {0};
    while (link_record_next(&records, &data, &len)) {
        zmq_msg_t body;
        struct buf bytes = {0};
        link_record_copy(&bytes, data, len);
        link_body(&body, &bytes);
        struct feed_batch *one = add_batch(l, &body, 1, 0, b->origin);
        one->failures = LINK_SPLIT_FAILURES;
        append(&parts, one);
    }
    while (parts.last) {
        struct feed_batch *one = parts.last;
        detach(&parts, one);
        wait_first(l, one);
    }
    b->origin->open--;
    remove_batch(l, b);
}

/* Turns the one record of a batch into a reject, which no stage works on. 0, or -1 when it is one already. */
static int poison(struct link *l, struct feed_batch *b, const char *why)
{
    struct record r = {0};
    struct buf body = {0};
    const unsigned char *data = zmq_msg_data(&b->body);
    size_t len = zmq_msg_size(&b->body);
    struct link_records records = {data, data + len};
    link_record_next(&records, &data, &len);
    int rc = record_unpack(&r, data, len);
    if (rc == 0 && record_has(&r, FIELD_REJECT))
        rc = err_set(ERR_DATA, "id %" PRIu64 " is a reject, and yet it failed %u times: %s", r.id, b->failures, why);
    if (rc == 0) {
        log_warn("%s: id %" PRIu64 " failed %u times: it goes on as a reject", l->uri, r.id, b->failures);
        record_reject(&r, "poison: failed %u times, at last: %.*s", b->failures, WHY_BYTES, why);
        link_record_pack(&body, &r);
        l->counts.open_bytes += body.len - b->bytes;
        l->counts.poisoned++;
        b->bytes = body.len;
        b->sum = 0;
        b->failures = 0;
        zmq_msg_close(&b->body);
        link_body(&b->body, &body);
    }
    record_free(&r);
    return rc < 0 ? err_wrap("%s", l->uri) : 0;
}

/* A batch that was taken back failed where it was. */
static void fail(struct link *l, struct feed_batch *b, bool permanent, const char *why)
{
    b->failures = permanent ? LINK_MAX_FAILURES : b->failures + 1;
    if (b->items > 1 && b->failures >= LINK_SPLIT_FAILURES) {
        split(l, b);
        return;
    }
    if (b->failures >= LINK_MAX_FAILURES && poison(l, b, why) < 0)
        l->stuck = true;
    wait_first(l, b);
}

void feed_reset(struct link *l, struct link_peer *peer, bool blame)
{
    struct feed_batch *guilty = NULL;
    size_t count = 0;
    for (struct feed_batch *b = peer->held.last; b; b = b->previous, count++)
        if (!b->passed)
            guilty = b;
    if (blame && count > 0) {
        log_warn("%s: a worker fell silent; the %zu batches that it held go to others", l->uri, count);
        l->counts.deaths++;
    }
    while (peer->held.last) {
        struct feed_batch *b = peer->held.last;
        take_back(peer, b);
        l->counts.resent++;
        if (blame && b == guilty)
            fail(l, b, false, "the worker died or hung");
        else
            wait_first(l, b);
    }
}

/* What arrived and is neither held nor acknowledged was lost with a connection. */
static void take_ping(struct link *l, struct link_peer *peer, const struct link_head *head, const zmq_msg_t *body)
{
    const unsigned char *at = zmq_msg_data((zmq_msg_t *)body), *end = at + zmq_msg_size(body);
    struct feed_batch *before;
    for (; at < end; at += LINK_HELD_BYTES) {
        struct link_held held;
        link_held_unpack(&held, at);
        struct feed_batch *b = link_ring_get(&l->batches, held.batch);
        if (b == NULL || b->holder != peer)
            continue;
        b->named = true;
        if (held.passed && !b->passed)
            peer->hand_items -= b->items;
        b->passed = b->passed || held.passed;
    }
    for (struct feed_batch *b = peer->held.last; b; b = before) {
        before = b->previous;
        if (!b->named && b->sequence <= head->sequence) {
            take_back(peer, b);
            l->counts.resent++;
            wait_first(l, b);
        }
        b->named = false;
    }
    unsigned char sent[LINK_SENT_BYTES];
    link_sent_pack(sent, &peer->sent);
    link_send(l, peer, (struct link_head){.type = LINK_PONG, .sequence = peer->sequence}, sent, sizeof sent);
}

static void take_nack(struct link *l, struct link_peer *peer, struct feed_batch *b, zmq_msg_t *body)
{
    const char *text = zmq_msg_data(body);
    size_t len = zmq_msg_size(body) - 1;
    enum link_nack kind = (unsigned char)text[0];
    peer->leaves = peer->leaves || kind == LINK_RETURN;
    char *why = xasprintf("%.*s", (int)(len < WHY_BYTES ? len : WHY_BYTES), text + 1);
    take_back(peer, b);
    l->counts.resent++;
    if (kind == LINK_RETURN)
        wait_first(l, b);
    else
        fail(l, b, kind == LINK_PERMANENT, why);
    free(why);
}

void feed_receive(struct link *l, struct link_peer *peer, const struct link_head *head, zmq_msg_t *body)
{
    struct feed_batch *b = link_ring_get(&l->batches, head->batch);
    switch (head->type) {
    case LINK_CREDIT:
        if (head->batch > peer->granted_items)
            peer->granted_items = head->batch;
        if (head->sequence > peer->granted_bytes)
            peer->granted_bytes = head->sequence;
        break;
    case LINK_ACK:
    case LINK_NACK:
        if (l->ending && head->type == LINK_ACK && head->batch == LINK_END_BATCH) {
            if (!l->end_confirmed)
                l->end_time = l->serviced;
            peer->end_confirmed = l->end_confirmed = true;
        } else if (b == NULL || b->holder != peer || b->attempt != head->attempt) {
            l->counts.stale++;
        } else if (head->type == LINK_NACK) {
            take_nack(l, peer, b, body);
        } else {
            take_back(peer, b);
            struct feed_origin *origin = b->origin;
            remove_batch(l, b);
            close_one(l, origin);
        }
        break;
    case LINK_PING:
        take_ping(l, peer, head, body);
        break;
    default:
        l->counts.stale++;
        break;
    }
}

static bool has_credit(const struct link_peer *p)
{
    return p->greeted && !p->unreachable && !p->leaves && p->sent.items < p->granted_items &&
           p->sent.bytes < p->granted_bytes;
}

/* Who gets a batch: of those with credit the one that has least to do; NULL: nobody now. A record that is tried alone
 * goes to one whose hands are empty. */
static struct link_peer *choose(const struct link *l, const struct feed_batch *b)
{
    struct link_peer *best = NULL;
    bool alone = b->failures >= LINK_SPLIT_FAILURES;
    for (size_t i = 0; i < l->peer_count; i++) {
        struct link_peer *p = l->peers[i];
        bool busy = alone && p->hand_items > 0;
        bool tries_alone = p->held.last && !p->held.last->passed && p->held.last->failures >= LINK_SPLIT_FAILURES;
        if (has_credit(p) && !busy && !tries_alone && (best == NULL || p->hand_items < best->hand_items))
            best = p;
    }
    return best;
}

static bool hand_out(struct link *l, struct feed_batch *b, struct link_peer *peer)
{
    zmq_msg_t copy;
    zmq_msg_init(&copy);
    zmq_msg_copy(&copy, &b->body);
    b->attempt++;
    b->sequence = peer->sequence + 1;
    struct link_head head = {.type = LINK_DATA,
                             .batch = b->number,
                             .attempt = b->attempt,
                             .items = b->items,
                             .sequence = b->sequence,
                             .sum = b->sum};
    if (!link_send_body(l, peer, head, &copy))
        return false;
    detach(&l->pending, b);
    l->counts.pending_items -= b->items;
    l->counts.pending_bytes -= b->bytes;
    append(&peer->held, b);
    b->holder = peer;
    b->named = b->passed = false;
    peer->sequence = b->sequence;
    peer->sent.items += b->items;
    peer->sent.bytes += b->bytes;
    peer->hand_items += b->items;
    return true;
}

static void tell_end(struct link *l, double now)
{
    for (size_t i = 0; i < l->peer_count; i++) {
        struct link_peer *p = l->peers[i];
        if (!p->greeted || p->end_confirmed || now - p->spoke < LINK_HEARTBEAT_SECONDS)
            continue;
        p->spoke = now;
        link_send(l, p, (struct link_head){.type = LINK_END, .batch = l->total}, NULL, 0);
    }
    if (l->end_time == 0)
        l->end_time = now;
    if (l->end_confirmed || l->unconfirmed_said || now - l->end_time < END_UNCONFIRMED_SECONDS)
        return;
    l->unconfirmed_said = true;
    log_warn("%s: all records are stored, but nobody has confirmed the end for %.0f s; waiting: start again what is "
             "missing between here and the store; if the store has ended well, end this program",
             l->uri, END_UNCONFIRMED_SECONDS);
}

void feed_service(struct link *l, double now)
{
    while (l->pending.first) {
        struct link_peer *peer = choose(l, l->pending.first);
        if (peer == NULL)
            break;
        hand_out(l, l->pending.first, peer);
    }
    if (l->ending)
        tell_end(l, now);
}

void link_end(struct link *l, uint64_t total)
{
    l->ending = true;
    l->total = total;
    for (size_t i = 0; i < l->peer_count; i++)
        l->peers[i]->spoke = 0;
}

bool link_end_is_told(const struct link *l, double now)
{
    bool all = true;
    for (size_t i = 0; i < l->peer_count; i++)
        all = all && (!l->peers[i]->greeted || l->peers[i]->end_confirmed);
    return l->end_confirmed && (all || now - l->end_time > END_WAIT_SECONDS);
}

void feed_close(struct link *l)
{
    for (uint64_t n = l->batches.first; n < l->batches.next; n++) {
        struct feed_batch *b = link_ring_get(&l->batches, n);
        if (b == NULL)
            continue;
        if (--b->origin->open == 0)
            free(b->origin); /* the one being filled is held by `filling` too */
        zmq_msg_close(&b->body);
        free(b);
    }
    free(l->filling);
    free(l->batches.slots);
    free(l->settled);
}
