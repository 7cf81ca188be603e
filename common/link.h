/*
 * Links: batches of records from a feeder to workers over ZeroMQ, of which none is lost while a process lives that
 * feeds it. Either end may bind (ROUTER, many peers) or connect (DEALER, one peer); one implementation serves all four
 * cases.
 *
 * A feeder keeps each batch until it is acknowledged, which a worker does only when all that came of it is stored.
 * Workers grant credit in items and bytes; it counts what they have in hand, and comes back when they pass a batch on.
 * Each second a worker names the batches that it holds. One that is silent for three seconds is dead, and its batches
 * go to others; the first that it had not passed on is blamed. After LINK_SPLIT_FAILURES a batch is cut into single
 * records, which are tried alone in a worker's hands; after LINK_MAX_FAILURES a record goes on as a reject "poison:
 * ...". A session joins two live processes: what comes of an older one is stale and ignored. The end is a state that
 * every peer, however late, is told: all records of the input are stored. A worker confirms it when all that follow it
 * know of it too, so that a feeder stays until the store does, whoever dies on the way.
 *
 * One thread a link. Nothing blocks: poll link_socket, then call link_service. `now`: seconds of CLOCK_MONOTONIC.
 */
#ifndef ATELIER_COMMON_LINK_H
#define ATELIER_COMMON_LINK_H

#include "common/link_wire.h"
#include <zmq.h>

#define LINK_HEARTBEAT_SECONDS 1.0
#define LINK_SILENCE_SECONDS 3.0
#define LINK_SPLIT_FAILURES 3
#define LINK_MAX_FAILURES 5
#define LINK_MAX_PEERS 1024

enum link_role { LINK_FEEDER = 1, LINK_WORKER };

struct link;

struct link_options {
    enum link_role role;
    const char *run;                     /* identity; both ends' must be equal where both have one; NULL: none */
    uint64_t credit_items, credit_bytes; /* worker: most in its hands, and one batch more; for each feeder */
    const char *keys;                    /* directory of link_keys_make; NULL: none */
    bool insecure;                       /* other hosts without keys */
};

/* "tcp://HOST:PORT" and "ipc://PATH" connect; "bind+" in front binds. Any address but ipc and loopback needs keys, or
 * `insecure`. 0, or -1 with an error that names the URI. */
int link_open(struct link **l, const char *uri, const struct link_options *options);
void link_close(struct link **l); /* a NULL inside is passed over */

void *link_socket(const struct link *l);

/* Takes all messages that came and does what is due. 0, or -1: the other end refused this one, or a record can neither
 * be processed nor rejected. */
int link_service(struct link *l, double now);
/* Sends what is due, and takes nothing: for the moment before a wait. */
void link_flush(struct link *l, double now);

/* Makes a message of the buffer's bytes, which become its own. */
void link_body(zmq_msg_t *message, struct buf *bytes);

/* Feeder. The body (of DATA, link_wire.h) becomes the link's; `sum`, its checksum, is 0 where it is not known.
 * link_seal ends what was fed since the one before under one ticket, which comes back when all of it is acknowledged:
 * nothing at once. */
void link_feed(struct link *l, zmq_msg_t *body, uint32_t items, uint32_t sum);
void link_seal(struct link *l, uint64_t ticket);
bool link_next_settled(struct link *l, uint64_t *ticket);
/* All was fed and acknowledged: from now on peers are told so. */
void link_end(struct link *l, uint64_t total);
/* A worker has confirmed it; and all others have, too, or had the time. */
bool link_end_is_told(const struct link *l, double now);

/* Worker. */
struct link_batch {
    uint64_t ticket; /* names it below */
    uint32_t items, sum;
    zmq_msg_t body; /* the caller's to close */
};
bool link_take(struct link *l, struct link_batch *batch);
void link_pass(struct link *l, uint64_t ticket); /* its records have gone on */
void link_ack(struct link *l, uint64_t ticket);  /* and are stored */
void link_nack(struct link *l, uint64_t ticket, enum link_nack kind, const char *why);
void link_retire(struct link *l);                           /* wants no more, gives back what was not taken */
bool link_has_ended(const struct link *l, uint64_t *total); /* a feeder said END */
void link_confirm_end(struct link *l);                      /* all that follow know of it */
/* It is confirmed, and all feeders have said it, or had the time. */
bool link_end_is_heard(const struct link *l, double now);
bool link_is_forsaken(const struct link *l, double now); /* no feeder was heard for ten seconds */

/* link_curve.c. Makes a directory of keys (mode 0600): `key`, this host's public and secret one; `allowed`, the public
 * keys that a binding end admits, one a line; `server`, the public key of the binding end that this host connects to.
 * With a copy of it on each host all may talk to all. 0 or -1. */
int link_keys_make(const char *dir);

/* What happened so far, and how things stand. */
struct link_counts {
    enum link_role role;
    uint64_t batches, items, bytes; /* fed or received */
    uint64_t settled;               /* batches acknowledged */
    uint64_t resent;                /* batches that went out once more */
    uint64_t deaths;                /* peers that fell silent while they held batches */
    uint64_t stale;                 /* messages of older sessions, acknowledgements of batches given to others */
    uint64_t refused;               /* strangers, other versions, damaged or malformed messages */
    uint64_t poisoned;              /* records turned into rejects */
    uint64_t peers;
    uint64_t pending_items, pending_bytes; /* feeder: not handed out; worker: not taken */
    uint64_t open_items, open_bytes;       /* not acknowledged, the pending ones among them */
};
const struct link_counts *link_counts(const struct link *l);
void link_counts_print(const struct link_counts *c, struct buf *out); /* as monitor.h has it */

#endif
