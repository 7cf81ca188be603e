/*
 * A bounded walk over msgpack bytes from outside. Nothing is allocated: a count or a size is checked against the bytes
 * that are there before anyone acts on it (a five-byte header can claim 16 GB).
 */
#ifndef ATELIER_COMMON_WALK_H
#define ATELIER_COMMON_WALK_H

#include <stddef.h>
#include <stdint.h>

#define WALK_MAX_DEPTH 32

struct walk {
    const unsigned char *at, *end;
};

enum walk_type {
    WALK_NIL,
    WALK_BOOL,     /* u: 0 or 1 */
    WALK_UNSIGNED, /* u */
    WALK_NEGATIVE, /* i: below 0 */
    WALK_FLOAT,    /* f */
    WALK_STRING,   /* data, len: the bytes present */
    WALK_BYTES,    /* the same */
    WALK_EXT,      /* the same; the application's type byte is passed over */
    WALK_ARRAY,    /* len items follow, and at least so many bytes are present */
    WALK_MAP,      /* len pairs follow, and at least 2 x len bytes are present */
};

struct walk_item {
    enum walk_type type;
    union {
        uint64_t u;
        int64_t i;
        double f;
    };
    const unsigned char *data;
    size_t len;
};

/* Takes the next item: a scalar whole, of an array or a map its head alone. -1 (ERR_DATA) on cut or invalid bytes. */
int walk_next(struct walk *w, struct walk_item *item);

/* Passes over one value with all that is in it, WALK_MAX_DEPTH deep at most. 0 or -1. */
int walk_skip(struct walk *w);

#endif
