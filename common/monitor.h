/*
 * The HTTP server of --metrics: /metrics (Prometheus text), /healthz (it lives), /readyz (it works; 503 before), on a
 * thread of its own.
 */
#ifndef ATELIER_COMMON_MONITOR_H
#define ATELIER_COMMON_MONITOR_H

#include "common/mem.h"
#include <stdbool.h>
#include <stdint.h>

struct monitor;

struct monitor_view {
    void (*print)(void *self, struct buf *out); /* appends lines; called by the server's thread */
    void *self;
};

/* `address`: HOST:PORT, or the path of a socket, which has a '/' in it. Hosts but loopback only with `insecure`. 0 or
 * -1. */
int monitor_open(struct monitor **m, const char *address, bool insecure, const struct monitor_view *view);
void monitor_set_ready(struct monitor *m);
void monitor_close(struct monitor **m); /* a NULL inside is passed over */

/* Appends a value: atelier_NAME{LABEL} VALUE; the label may be "". */
void monitor_add(struct buf *out, const char *name, const char *label, uint64_t value);

#endif
