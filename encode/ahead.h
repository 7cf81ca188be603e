/*
 * Decoding ahead: threads decode and crop the pictures of the next records while the network works on this one's. Large
 * pictures before a small network keep all cores busy so, too. Records come out in the order in which they went in.
 */
#ifndef ATELIER_ENCODE_AHEAD_H
#define ATELIER_ENCODE_AHEAD_H

#include "common/image.h"
#include "common/record.h"

struct crops {
    int views, side; /* of each picture: 1 the centred square, more random crops */
    int64_t seed;
};

/* A record and what became of its picture. */
struct prepared {
    struct record record;
    int width, height; /* of the whole picture */
    bool profile;      /* it had an ICC profile, which was ignored */
    uint8_t *squares;  /* [views, side, side, 3]; NULL: the record was rejected */
};

struct ahead;

/* With so many threads, or fewer where that is many. NULL with an error set. */
struct ahead *ahead_new(const struct crops *crops, int threads);
void ahead_free(struct ahead **a);

/* Takes the record's contents over (r is empty afterwards). Not when ahead_full. */
void ahead_put(struct ahead *a, struct record *r);
bool ahead_full(const struct ahead *a);
/* The oldest record, when its picture is decoded; NULL when there is none. It holds until the next call of
 * ahead_next or ahead_put. */
struct prepared *ahead_next(struct ahead *a);

#endif
