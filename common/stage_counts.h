/*
 * What a stage counts, its statistics file and its final line.
 */
#ifndef ATELIER_COMMON_STAGE_COUNTS_H
#define ATELIER_COMMON_STAGE_COUNTS_H

#include "common/mem.h"
#include <stdbool.h>
#include <stdint.h>

struct tally {
    char *name;
    uint64_t count;
};

struct tallies {
    struct tally *data;
    size_t len;
};

struct stage_counts {
    uint64_t records;            /* that came in */
    uint64_t kept;               /* that went out without `reject` */
    uint64_t rejected;           /* by this stage, or by its source where that reads foreign formats */
    uint64_t rejected_upstream;  /* that came as rejects */
    struct tallies rules, named; /* own rejects by the part before ':'; the stage's own counters */
    double start;                /* seconds, CLOCK_MONOTONIC */
};

void tally_add(struct tallies *t, const char *name, size_t len, uint64_t count);
void stage_counts_free(struct stage_counts *c);

/* "3655 records, 3300 kept, 355 rejected (language 120, aspect 30), 12,345/s" */
void stage_counts_print(const struct stage_counts *c, struct buf *out);

/* The statistics file: an object of the counts, seconds, and how the run ended. 0 or -1. */
int stage_counts_write(const struct stage_counts *c, const char *path, const char *stage, bool complete,
                       const char *error);

#endif
