/*
 * A link with a thread of its own, so that heartbeats go on while the program works. One thread a link: these functions
 * are for the program's other threads.
 */
#ifndef ATELIER_COMMON_LINK_PORT_H
#define ATELIER_COMMON_LINK_PORT_H

#include "common/link.h"

struct link_port;

struct link_port_options {
    struct link_options link;
    /* Feeder: what waits is bounded by these; link_port_feed blocks. Open: not acknowledged; pending: not handed out.
     */
    uint64_t open_items, open_bytes, pending_items, pending_bytes; /* 0: no bound */
    /* Feeder: called by the port's thread for each ticket that is acknowledged. May be NULL. */
    void (*settled)(void *context, uint64_t ticket);
    void *context;
};

int link_port_open(struct link_port **p, const char *uri, const struct link_port_options *options);
void link_port_close(struct link_port **p); /* a NULL inside is passed over */

/* Feeder. The body becomes the port's. 0, or -1: the link failed, or the program was told to stop. */
int link_port_feed(struct link_port *p, zmq_msg_t *body, uint32_t items);
void link_port_seal(struct link_port *p, uint64_t ticket);
/* Waits until all is acknowledged: 1, or -1 the link failed. After a stop it waits on for `seconds` at most: 0 when
 * something is left. */
int link_port_drain(struct link_port *p, double seconds);
/* Tells all workers that it is the end. link_port_end_told waits a little for them: 1 when they have confirmed it, 0,
 * or -1 the link failed. */
void link_port_end(struct link_port *p, uint64_t total);
int link_port_end_told(struct link_port *p);

/* Worker. 1 a batch, 0 none came in `milliseconds`, -1 the link failed. The body is the caller's to close. */
int link_port_take(struct link_port *p, struct link_batch *batch, int milliseconds);
void link_port_pass(struct link_port *p, uint64_t ticket);
void link_port_ack(struct link_port *p, uint64_t ticket);
void link_port_nack(struct link_port *p, uint64_t ticket, enum link_nack kind, const char *why);
void link_port_retire(struct link_port *p);
bool link_port_has_ended(struct link_port *p, uint64_t *total);
void link_port_confirm_end(struct link_port *p);
bool link_port_is_forsaken(struct link_port *p);

void link_port_print(struct link_port *p, struct buf *out); /* its counters, as monitor.h has it */

#endif
