/*
 * The network's part: pictures that were decoded ahead go through the dVAE in batches, which take squares of as many
 * records as it needs and records of as many batches. On a device the next batch is brought, and the last one's records
 * go out, while one is computed. On a CPU a batch is one square.
 */
#ifndef ATELIER_ENCODE_BATCHES_H
#define ATELIER_ENCODE_BATCHES_H

#include "encode/ahead.h"
#include "models/dvae.h"

/* Who takes what is done, in the order of the queue. codes [views, grid * grid], as dvae_encode gives them, and what
 * the last view's decode to, [side, side, 3]; NULL where there is no picture, or where that was not asked for. 0 or -1.
 */
struct batches_taker {
    int (*take)(void *self, struct prepared *p, const int32_t *codes, uint8_t *seen);
    void *self;
};

struct batches;

/* `d` and `a` stay the caller's; `views` as in a's crops. decode: pictures are decoded again. */
struct batches *batches_new(struct dvae *d, struct ahead *a, int views, bool decode, const struct batches_taker *taker);
void batches_free(struct batches **b);

/* Begins with the next batch of what is in the queue, waiting for its pictures, and gives out what the batch before it
 * completes. A full queue needs more than one call until there is room. 0 or -1. */
int batches_step(struct batches *b);
/* All that is in the queue. */
int batches_flush(struct batches *b);

#endif
