/*
 * Reads the metrics that a program of a run serves at a socket (common/monitor.h).
 */
#ifndef ATELIER_PIPELINES_METRICS_H
#define ATELIER_PIPELINES_METRICS_H

#include "common/mem.h"
#include <stdint.h>

/* Fills `answer` with what is served at the socket, as a string; empty when nobody answers within a second. */
void metrics_ask(const char *socket_path, struct buf *answer);

/* The value of "records_total" or, with its label, "link_open_records{end=\"out\"}"; 0 when there is none. */
uint64_t metrics_value(const struct buf *answer, const char *name);

#endif
