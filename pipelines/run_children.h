/*
 * The processes of a run: started, watched, started again when they die.
 */
#ifndef ATELIER_PIPELINES_RUN_CHILDREN_H
#define ATELIER_PIPELINES_RUN_CHILDREN_H

#include "pipelines/run_plan.h"
#include <sys/types.h>

struct child {
    size_t step; /* of the plan */
    unsigned copy;
    pid_t pid; /* 0: not running */
    bool done; /* ended with code 0 */
    unsigned restarts;
    unsigned failures;    /* in a row */
    double started, next; /* when it was started; when it is to be, if it is still needed then */
    int status;           /* of its last end */
    char *log, *metrics;  /* what it says; the socket of its metrics */
};

struct children {
    const struct plan *plan;
    struct child *list;
    size_t count;
    uint64_t stored; /* the store's cursor when it was looked at last */
    bool stopping;
};

/* 0, or -1 when the plan's directory has too long a path for sockets. */
int children_open(struct children *c, const struct plan *plan);
void children_free(struct children *c);

/* Prints their commands as a shell takes them, each in the background, the store first. */
void children_print(const struct children *c);

/* Starts those whose time has come, and takes note of those that ended. 0, or -1 when one dies again and again, or in a
 * way that trying again does not mend. */
int children_tend(struct children *c, double now);

/* The store's cursor; a change of it forgives failures of workers. */
void children_note_stored(struct children *c, uint64_t cursor);

bool children_running(const struct children *c);
bool children_done(const struct children *c); /* source and store have come to the end: all is stored */
void children_signal(struct children *c, int number);

#endif
