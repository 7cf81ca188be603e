/*
 * The worker's side of a link: batches arrive within the credit that was granted, are taken, passed on and
 * acknowledged; heartbeats name those that are held (link.h).
 */
#include "common/link_private.h"
#include <stdlib.h>

#define END_WAIT_SECONDS 3.0  /* for other feeders to say that it is the end, after it was confirmed to one */
#define PING_SECONDS 0.01     /* between those that say that nothing is in hand any more */
#define FORSAKEN_SECONDS 10.0 /* without a word from any feeder, each of which speaks every second */

static bool in_hand(const struct hold *h)
{
    return h->state == HOLD_ARRIVED || h->state == HOLD_TAKEN;
}

/* It is no longer in hand: its credit comes back. */
static void release(struct hold *h)
{
    h->peer->released_items += h->items;
    h->peer->released_bytes += h->bytes;
    h->peer->ping_due = --h->peer->hands == 0;
}

static void detach(struct link_peer *peer, struct hold *h)
{
    *(h->previous ? &h->previous->following : &peer->first) = h->following;
    *(h->following ? &h->following->previous : &peer->last) = h->previous;
    h->peer = NULL;
}

/* Forgets a batch; one that waits to be taken stays in that queue until its turn. */
static void let_go(struct link *l, struct hold *h)
{
    if (h->peer) {
        if (in_hand(h))
            release(h);
        detach(h->peer, h);
    }
    l->counts.open_items -= h->items;
    l->counts.open_bytes -= h->bytes;
    link_ring_remove(&l->holds, h->ticket);
    if (h->state == HOLD_ARRIVED) {
        h->state = HOLD_DROPPED;
        l->counts.pending_items -= h->items;
        l->counts.pending_bytes -= h->bytes;
        zmq_msg_close(&h->body);
    } else {
        free(h);
    }
}

static void answer(struct link *l, struct hold *h, enum link_type type, enum link_nack kind, const char *why)
{
    struct buf body = {0};
    if (type == LINK_NACK)
        link_text_pack(&body, (uint8_t)kind, why);
    struct link_head head = {.type = type, .batch = h->number, .attempt = h->attempt};
    link_send(l, h->peer, head, body.data, body.len);
    buf_free(&body);
}

static void take_data(struct link *l, struct link_peer *peer, const struct link_head *head, zmq_msg_t *body)
{
    struct hold *h = xcalloc(1, sizeof *h);
    h->number = head->batch;
    h->attempt = head->attempt;
    h->items = head->items;
    h->sum = head->sum;
    h->bytes = zmq_msg_size(body);
    h->peer = peer;
    h->ticket = link_ring_add(&l->holds, h);
    h->previous = peer->last;
    *(peer->last ? &peer->last->following : &peer->first) = h;
    peer->last = h;
    peer->received = head->sequence;
    peer->came.items += h->items;
    peer->came.bytes += h->bytes;
    peer->hands++;
    zmq_msg_init(&h->body);
    zmq_msg_move(&h->body, body);
    l->counts.batches++;
    l->counts.items += h->items;
    l->counts.bytes += h->bytes;
    l->counts.open_items += h->items;
    l->counts.open_bytes += h->bytes;
    l->counts.pending_items += h->items;
    l->counts.pending_bytes += h->bytes;
    *(l->arrived_last ? &l->arrived_last->next_arrival : &l->arrived_first) = h;
    l->arrived_last = h;
    if (l->retired) {
        answer(l, h, LINK_NACK, LINK_RETURN, "the worker leaves");
        let_go(l, h);
    }
}

/* Messages come in order: what was sent before this and has not come was lost with a connection. The next heartbeat,
 * which names it not, says so. */
static void take_pong(struct link_peer *peer, const struct link_head *head, const zmq_msg_t *body)
{
    struct link_sent sent;
    if (head->sequence < peer->received)
        return;
    link_sent_unpack(&sent, zmq_msg_data((zmq_msg_t *)body));
    peer->lost_items = sent.items - peer->came.items;
    peer->lost_bytes = sent.bytes - peer->came.bytes;
    peer->ping_due = peer->ping_due || head->sequence > peer->received;
    peer->received = head->sequence;
}

static void confirm_end(struct link *l, struct link_peer *peer)
{
    link_send(l, peer, (struct link_head){.type = LINK_ACK, .batch = LINK_END_BATCH}, NULL, 0);
}

void work_receive(struct link *l, struct link_peer *peer, const struct link_head *head, zmq_msg_t *body)
{
    switch (head->type) {
    case LINK_DATA:
        if (head->sequence > peer->received)
            take_data(l, peer, head, body);
        else
            l->counts.stale++; /* its credit was used once */
        break;
    case LINK_PONG:
        take_pong(peer, head, body);
        break;
    case LINK_END:
        l->total = head->batch;
        l->ended = peer->end_said = true;
        if (l->end_confirmed)
            confirm_end(l, peer);
        break;
    default:
        l->counts.stale++;
        break;
    }
}

bool link_take(struct link *l, struct link_batch *batch)
{
    while (l->arrived_first) {
        struct hold *h = l->arrived_first;
        l->arrived_first = h->next_arrival;
        if (l->arrived_first == NULL)
            l->arrived_last = NULL;
        if (h->state == HOLD_DROPPED) {
            free(h);
            continue;
        }
        h->state = HOLD_TAKEN;
        l->counts.pending_items -= h->items;
        l->counts.pending_bytes -= h->bytes;
        *batch = (struct link_batch){.ticket = h->ticket, .items = h->items, .sum = h->sum, .body = h->body};
        return true;
    }
    return false;
}

void link_pass(struct link *l, uint64_t ticket)
{
    struct hold *h = link_ring_get(&l->holds, ticket);
    if (h->peer)
        release(h);
    h->state = HOLD_PASSED;
}

void link_ack(struct link *l, uint64_t ticket)
{
    struct hold *h = link_ring_get(&l->holds, ticket);
    if (h->peer)
        answer(l, h, LINK_ACK, 0, NULL);
    l->counts.settled++;
    let_go(l, h);
}

void link_nack(struct link *l, uint64_t ticket, enum link_nack kind, const char *why)
{
    struct hold *h = link_ring_get(&l->holds, ticket);
    if (h->peer)
        answer(l, h, LINK_NACK, kind, why);
    let_go(l, h);
}

void link_retire(struct link *l)
{
    l->retired = true;
    for (struct hold *h = l->arrived_first; h; h = h->next_arrival)
        if (h->state == HOLD_ARRIVED)
            link_nack(l, h->ticket, LINK_RETURN, "the worker leaves");
}

void work_reset(struct link *l, struct link_peer *peer)
{
    while (peer->first) {
        struct hold *h = peer->first;
        if (h->state == HOLD_ARRIVED)
            let_go(l, h);
        else
            detach(peer, h); /* it is being worked on: who holds the ticket will come with it */
    }
}

static void send_ping(struct link *l, struct link_peer *peer, double now)
{
    struct buf body = {0};
    for (const struct hold *h = peer->first; h; h = h->following)
        link_held_pack(&body, &(struct link_held){h->number, h->state == HOLD_PASSED});
    link_send(l, peer, (struct link_head){.type = LINK_PING, .sequence = peer->received}, body.data, body.len);
    buf_free(&body);
    peer->spoke = now;
    peer->ping_due = false;
}

/* Totals, so that one that is lost or comes late does no harm. */
static void grant_credit(struct link *l, struct link_peer *peer, bool again)
{
    uint64_t items = peer->released_items + peer->lost_items + l->credit_items;
    uint64_t bytes = peer->released_bytes + peer->lost_bytes + l->credit_bytes;
    bool grown = items - peer->announced_items >= (l->credit_items + 3) / 4 ||
                 bytes - peer->announced_bytes >= (l->credit_bytes + 3) / 4;
    if (l->retired || !(grown || again))
        return;
    if (link_send(l, peer, (struct link_head){.type = LINK_CREDIT, .batch = items, .sequence = bytes}, NULL, 0)) {
        peer->announced_items = items;
        peer->announced_bytes = bytes;
    }
}

void work_service(struct link *l, double now)
{
    for (size_t i = 0; i < l->peer_count; i++) {
        struct link_peer *peer = l->peers[i];
        if (!peer->greeted)
            continue;
        bool beat = now - peer->spoke >= LINK_HEARTBEAT_SECONDS;
        if (beat || (peer->ping_due && now - peer->spoke >= PING_SECONDS))
            send_ping(l, peer, now);
        grant_credit(l, peer, beat);
    }
}

bool link_has_ended(const struct link *l, uint64_t *total)
{
    *total = l->total;
    return l->ended;
}

void link_confirm_end(struct link *l)
{
    l->end_confirmed = true;
    l->end_time = l->serviced;
    for (size_t i = 0; i < l->peer_count; i++)
        if (l->peers[i]->end_said)
            confirm_end(l, l->peers[i]);
}

bool link_end_is_heard(const struct link *l, double now)
{
    bool all = true;
    for (size_t i = 0; i < l->peer_count; i++)
        all = all && (!l->peers[i]->greeted || l->peers[i]->end_said);
    return l->end_confirmed && (all || now - l->end_time > END_WAIT_SECONDS);
}

bool link_is_forsaken(const struct link *l, double now)
{
    for (size_t i = 0; i < l->peer_count; i++)
        if (l->peers[i]->greeted && now - l->peers[i]->heard < FORSAKEN_SECONDS)
            return false;
    return true;
}

/* Others go on at once with what is given back. */
void work_close(struct link *l)
{
    for (size_t i = 0; i < l->peer_count; i++) {
        for (struct hold *h = l->peers[i]->first; h; h = h->following)
            answer(l, h, LINK_NACK, LINK_RETURN, "the worker leaves");
        work_reset(l, l->peers[i]);
    }
    struct link_batch batch;
    while (l->arrived_first && link_take(l, &batch))
        zmq_msg_close(&batch.body);
    for (uint64_t n = l->holds.first; n < l->holds.next; n++)
        free(link_ring_get(&l->holds, n));
    free(l->holds.slots);
}
