/*
 * Decoding ahead: threads decode and crop the pictures of the next records while the network works on earlier ones.
 * Large pictures before a small network keep all cores busy so, too. A queue: records, and what else is to keep its
 * place among them, come out in the order in which they went in.
 */
#ifndef ATELIER_ENCODE_AHEAD_H
#define ATELIER_ENCODE_AHEAD_H

#include "common/image.h"
#include "common/record.h"

struct crops {
    int views, side; /* of each picture: 1 the centred square, more random crops */
    int64_t seed;
};

enum prepared_kind {
    PREPARED_PICTURE, /* a record whose picture is decoded */
    PREPARED_PASSED,  /* a record that came with `reject` */
    PREPARED_MARK,    /* the end of a link's batch */
};

/* What waits, and what became of a record's picture. */
struct prepared {
    enum prepared_kind kind;
    struct record record;
    uint64_t ticket;   /* of a mark */
    int width, height; /* of the whole picture */
    bool profile;      /* it had an ICC profile, which was ignored */
    uint8_t *squares;  /* [views, side, side, 3]; NULL: no picture, or the record was rejected here */
};

struct ahead;

/* With so many threads, or fewer where that is many. `together`: squares that the network takes at once; there is room
 * for those of two such batches beside what is being decoded, and for less where crops are so many that they would
 * take over a GiB. NULL with an error set. */
struct ahead *ahead_new(const struct crops *crops, int threads, int together);
void ahead_free(struct ahead **a);

/* Not when ahead_full. ahead_put and ahead_put_passed take the record's contents over (r is empty afterwards). */
void ahead_put(struct ahead *a, struct record *r);
void ahead_put_passed(struct ahead *a, struct record *r);
void ahead_put_mark(struct ahead *a, uint64_t ticket);
bool ahead_full(const struct ahead *a);

/* The i-th oldest, when its picture is decoded; NULL when there is none. It holds until it is dropped. */
struct prepared *ahead_at(struct ahead *a, uint64_t i);
void ahead_drop(struct ahead *a); /* the oldest */

#endif
