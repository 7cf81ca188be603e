/*
 * Random access to the kept records of an endpoint. A store (lmdb:) is read where it lies; records of any other kind
 * are kept in memory. Training order is a seeded permutation of the ids, a new one each epoch, so a position in it is
 * all that a resumed run needs. One thread at a time.
 */
#ifndef ATELIER_TRAINER_DATASET_H
#define ATELIER_TRAINER_DATASET_H

#include "common/image.h"
#include "common/record.h"

struct dataset;

/* `memory`: most bytes to keep for an endpoint that is not a store. 0, or -1 (also when there is no record to train
 * on). */
int dataset_open(struct dataset **d, const char *uri, size_t memory);
void dataset_close(struct dataset **d);

uint64_t dataset_count(const struct dataset *d); /* ids, tombstones of a store included */

/* Record `i` of the endpoint's order: 1, 0 for a tombstone, -1. */
int dataset_get(struct dataset *d, uint64_t i, struct record *r);

/* The record at *position of the order that `seed` gives, skipping tombstones; *position moves past it. Before that
 * *sample is the record's own position, which names the draws of its augmentation. 0 or -1. */
int dataset_next(struct dataset *d, uint64_t seed, uint64_t *position, uint64_t *sample, struct record *r);

/* Moves *position past n kept records without reading them. 0 or -1. */
int dataset_skip(struct dataset *d, uint64_t seed, uint64_t *position, uint64_t n);

/* The record's picture, whole. 0, or -1 with the record named. Any number of threads. */
int dataset_picture(const struct record *r, struct image *im);

#endif
