/*
 * Shared by the files of the link: link.c (socket, sessions, messages), link_feed.c, link_work.c, link_ring.c.
 */
#ifndef ATELIER_COMMON_LINK_PRIVATE_H
#define ATELIER_COMMON_LINK_PRIVATE_H

#include "common/link.h"

#define LINK_ID_BYTES 255

/* link_ring.c: things under consecutive numbers, most of them gone again soon. */
struct link_ring {
    void **slots;
    uint64_t first, next; /* numbers first .. next-1 may be there */
    size_t cap;           /* a power of two */
};
uint64_t link_ring_add(struct link_ring *ring, void *thing);        /* its number, from 1 */
void *link_ring_get(const struct link_ring *ring, uint64_t number); /* NULL: none */
void link_ring_remove(struct link_ring *ring, uint64_t number);

/* Batches in a chain of their own order: pending ones, or those that a peer holds. */
struct feed_list {
    struct feed_batch *first, *last;
};

/* One batch of a feeder, from link_feed until its acknowledgement. */
struct feed_batch {
    uint64_t number, sequence; /* sequence: of its DATA in the holder's session */
    uint32_t attempt, failures, items, sum;
    size_t bytes;
    bool passed, named;         /* by its holder's last PING */
    struct link_peer *holder;   /* NULL: pending */
    struct feed_origin *origin; /* what it is a part of */
    zmq_msg_t body;
    struct feed_batch *previous, *following;
};

/* What goes under one ticket. */
struct feed_origin {
    uint64_t ticket;
    size_t open; /* batches not acknowledged, and one until it is sealed */
};

/* One batch in a worker's hands, from its DATA until it is acknowledged or given back. */
enum hold_state { HOLD_ARRIVED, HOLD_DROPPED, HOLD_TAKEN, HOLD_PASSED };
struct hold {
    uint64_t ticket, number; /* here; at the feeder */
    uint32_t attempt, items, sum;
    size_t bytes;
    enum hold_state state;
    struct link_peer *peer; /* NULL: its session is over */
    zmq_msg_t body;         /* while it was not taken */
    struct hold *previous, *following, *next_arrival;
};

struct link_peer {
    unsigned char id[LINK_ID_BYTES]; /* ROUTER's name of it */
    size_t id_len;
    uint64_t session;
    bool greeted;        /* both said HELLO */
    bool unreachable;    /* a message could not be sent since it was heard last */
    double heard, spoke; /* last message from it; last heartbeat, HELLO or END to it */
    bool leaves;         /* feeder: it gave batches back */
    bool end_confirmed;  /* feeder */
    bool end_said;       /* worker: by this feeder */

    /* A feeder's view of a worker. */
    uint64_t granted_items, granted_bytes, sequence;
    struct link_sent sent;
    uint64_t hand_items; /* held and not passed on */
    struct feed_list held;

    /* A worker's view of a feeder. */
    uint64_t released_items, released_bytes; /* no longer in hand, since the session began */
    uint64_t lost_items, lost_bytes;         /* never came: their credit comes back too */
    uint64_t announced_items, announced_bytes;
    uint64_t received; /* sequence of the last DATA */
    struct link_sent came;
    uint64_t hands; /* batches not passed on */
    bool ping_due;
    struct hold *first, *last;
};

struct link {
    enum link_role role;
    bool binds;
    char *uri, *run;
    void *context, *socket;
    void *handshakes;                        /* those that failed, as events (zmq_socket_monitor) */
    struct link_guard *guard;                /* NULL: no keys are asked for */
    struct link_peer *peers[LINK_MAX_PEERS]; /* one where it connects */
    size_t peer_count;
    struct link_counts counts;
    double serviced, guarded; /* when it last was */
    double alone;             /* since when, or the last time that it was not */
    bool alone_said;
    uint64_t credit_items, credit_bytes;
    bool refused;       /* by the other end: the error is set */
    bool end_confirmed; /* by a worker; to the feeders */
    double end_time;    /* since when it is confirmed; feeder: or told */

    /* Feeder. */
    struct link_ring batches;
    struct feed_list pending;
    struct feed_origin *filling; /* not sealed; NULL: nothing was fed since */
    uint64_t *settled;           /* tickets, a queue */
    size_t settled_first, settled_count, settled_cap;
    bool ending, unconfirmed_said, stuck; /* stuck: the error is set */
    uint64_t total;

    /* Worker. */
    struct link_ring holds;
    struct hold *arrived_first, *arrived_last;
    bool ended, retired;
};

/* link.c. Sends a message with a body to copy, or with one to hand over: false when it could not be sent. */
bool link_send(struct link *l, struct link_peer *peer, struct link_head head, const void *body, size_t len);
bool link_send_body(struct link *l, struct link_peer *peer, struct link_head head, zmq_msg_t *body);

/* link_curve.c. Before bind or connect: sets keys and starts the guard that admits the listed ones alone; refuses other
 * hosts without. `address`: the URI without "bind+". link_guard_stop comes after the context's end. */
int link_guard_start(struct link *l, const char *address, const struct link_options *options);
/* Why a connection was turned away before it could say anything to the link; NULL: none was since. */
const char *link_guard_refusal(struct link *l);
void link_guard_stop(struct link *l);

/* link_feed.c: messages from a worker; what is due; a session that is over. */
void feed_receive(struct link *l, struct link_peer *peer, const struct link_head *head, zmq_msg_t *body);
void feed_service(struct link *l, double now);
/* Takes back all that the peer holds; with `blame` one batch has failed. */
void feed_reset(struct link *l, struct link_peer *peer, bool blame);
void feed_close(struct link *l);

/* link_work.c: the same for a feeder's messages. */
void work_receive(struct link *l, struct link_peer *peer, const struct link_head *head, zmq_msg_t *body);
void work_service(struct link *l, double now);
void work_reset(struct link *l, struct link_peer *peer);
void work_close(struct link *l);

#endif
