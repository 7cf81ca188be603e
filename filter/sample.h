/*
 * A look by eye: records drawn at random among those kept and those rejected. The draw depends on the ids alone, not on
 * the order in which they come.
 */
#ifndef ATELIER_FILTER_SAMPLE_H
#define ATELIER_FILTER_SAMPLE_H

#include "common/record.h"

struct sample_pick {
    uint64_t draw, id;
    char *line;
};

/* Zero-initialise but `most`. */
struct sample {
    size_t most; /* of each kind */
    struct sample_drawn {
        struct sample_pick *picks;
        size_t count;
        uint64_t limit; /* the highest draw, of `most` */
    } kept, rejected;
};

/* Offers a record that was judged. */
void sample_offer(struct sample *s, const struct record *r);

/* Logs a line for each record drawn, in the order of ids, the kept ones first. */
void sample_log(struct sample *s);

void sample_free(struct sample *s);

#endif
