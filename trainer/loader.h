/*
 * Reading ahead: threads read, decode and tokenise the samples that are computed together next while the network works
 * on the present ones. Which samples come, in which order and from which draws, never depends on time; what is wrong
 * with one is said when its turn comes.
 */
#ifndef ATELIER_TRAINER_LOADER_H
#define ATELIER_TRAINER_LOADER_H

#include "models/bpe.h"
#include "trainer/dataset.h"

#define LOADER_COLUMNS 3

/* Samples that are computed together: this process's own, and those of others around them. */
struct part {
    uint64_t before, behind;
    int own;
    double share; /* own of all */
};

/* What a thread prepares a sample with. */
struct loader_worker {
    struct record record;
    struct bpe_worker *bpe; /* NULL without a vocabulary */
    struct ints ids;        /* scratch */
};

struct loader_settings {
    struct dataset *data; /* nobody else's until the loader is closed */
    uint64_t seed, position;
    struct part part;
    int threads;
    int buffers;                  /* 2: a part is prepared while the last one given is in use */
    const struct bpe *bpe;        /* NULL: no vocabulary */
    size_t bytes[LOADER_COLUMNS]; /* of a sample, in each column of a part; those behind the last are 0 */
    /* Makes a sample's row of each column out of with->record. Called by several threads at a time. 0 or -1. */
    int (*prepare)(const void *self, struct loader_worker *with, uint64_t sample, void *const *row);
    const void *self;
};

struct loader;

/* Begins to read at `position` of the training order. 0 or -1. */
int loader_open(struct loader **l, const struct loader_settings *settings);
void loader_close(struct loader **l);

/* The columns [own] of the next part, which hold until the next call; *position is then behind the part. NULL with the
 * error of its first sample that failed, after which only loader_close is of use. */
void *const *loader_next(struct loader *l, uint64_t *position);

#endif
