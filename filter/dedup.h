/*
 * Exact duplicates: the set of what was kept, as 128-bit hashes of a cleaned caption and of the picture's bytes, each
 * with the id that had it first, in 30 to 38 bytes of memory a record. Chance makes two of a billion different records
 * one with a probability below 1e-20.
 */
#ifndef ATELIER_FILTER_DEDUP_H
#define ATELIER_FILTER_DEDUP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct dedup_hash {
    uint64_t a, b;
};

/* Of parts, of where each ends and of how many there are. */
struct dedup_hash dedup_hash(const struct iovec *parts, size_t count);

struct dedup;

struct dedup *dedup_new(void);
void dedup_free(struct dedup **d); /* a NULL inside is passed over */

/* 1: new, and now in the set; 0: known, *first is the id that had it first; -1: no memory. */
int dedup_add(struct dedup *d, struct dedup_hash hash, uint64_t id, uint64_t *first);

size_t dedup_bytes(const struct dedup *d);

#endif
