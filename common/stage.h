/*
 * The skeleton that every record-processing program starts from: options (argp), endpoints, the loop, signals,
 * progress, statistics, rejects, the end. A stage says what it does to one record; all else is here.
 *
 * Common options: --in URI, --out URI (default -), --from N, --threads N, --log text|json, --stats FILE,
 * --rejects FILE, --max-rejects N|P%, --keep-rejects, --run NAME, --batch N, --record-timeout S, --keys DIR,
 * --insecure, --dry-run (process, write nothing but statistics and rejects),
 * --help, --version. Exit codes: err.h.
 * SIGTERM, SIGINT and SIGUSR1 end the loop after the record in hand. A store then commits what it has and the code is 0
 * (130 after SIGINT); any other output is left visibly incomplete (a stream without end mark, FILE.part) and the code
 * is 128 + the signal.
 */
#ifndef ATELIER_COMMON_STAGE_H
#define ATELIER_COMMON_STAGE_H

#include "common/record.h"
#include <argp.h>

#define ATELIER_VERSION "0.1.0"

struct stage_output; /* where process puts its records */

/* Gives a record out (a reject too). 0 or -1. The record stays the caller's. From one thread at a time. */
int stage_emit(struct stage_output *out, const struct record *r);
/* The same of a record that came with `reject`, so that it counts as rejected upstream. */
int stage_emit_passed(struct stage_output *out, const struct record *r);
/* All that came of a link's batch, and nothing of later ones, was given out: it can be acknowledged when that is
 * stored. 0 or -1. */
int stage_mark(struct stage_output *out, uint64_t ticket);

/* Records with ids below this are in the output already (a store that is continued); 0 where it cannot know. */
uint64_t stage_done(const struct stage_output *out);

/* What --out names: "dir:out"; NULL when nothing is to be written (--dry-run). */
const char *stage_output_uri(const struct stage_output *out);

/* --dry-run: files of the stage's own are not to be written either. */
bool stage_is_dry(const struct stage_output *out);

/* Adds to a named counter of the statistics file and the final line, beside records, kept and rejected. */
void stage_count(struct stage_output *out, const char *name, uint64_t n);

struct stage {
    const char *name;                  /* "filter" */
    const char *doc;                   /* for --help: one line, then \v and more */
    const struct argp_option *options; /* the stage's own, keys below 0x1000; ends with {0}; NULL: none */
    /* One own option: 0, or -1 with an error set, which becomes a usage error. `self` is stage_main's. */
    int (*option)(void *self, int key, const char *arg);
    /* After all options: whether this run only reads, so that --out is not opened. May be NULL: it writes. */
    bool (*reads_only)(const void *self);
    /* After all options, before any output is made and any record comes: load models. 0 or -1. May be NULL. */
    int (*start)(void *self, struct stage_output *out);
    /* One record; may change it; emits none, one or more. Records that carry `reject` do not come here. 0, or -1 with
     * an error that ends the program (a bad record is rejected instead). */
    int (*process)(void *self, struct record *r, struct stage_output *out);
    /* A record that came with `reject`: for stages that number records anew or hold them back; it is for
     * stage_emit_passed. 0 or -1. NULL: it goes on as it is. */
    int (*pass)(void *self, struct record *r, struct stage_output *out);
    /* For stages that hold records back, which then need `pass` and both of these. mark: the end of a link's batch,
     * whose ticket is for stage_mark when all before it went out. flush: emits all that is held, when a link has
     * nothing more at present, and when the loop ends, even by a signal. 0 or -1. NULL: nothing is held back. */
    int (*mark)(void *self, uint64_t ticket, struct stage_output *out);
    int (*flush)(void *self, struct stage_output *out);
    /* After the last record of an input that came to its end, and of each batch that came over a link: emit what is
     * still held. May be NULL. */
    int (*finish)(void *self, struct stage_output *out);
    void (*close)(void *self); /* frees; always called. May be NULL. */
};

/* Runs the stage; returns the exit code for main. */
int stage_main(const struct stage *stage, void *self, int argc, char **argv);

/* True after SIGTERM, SIGINT or SIGUSR1; long loops outside stage_main (the trainer) ask it. */
bool stage_stopping(void);
/* A sign of life in long work on one record, whose --record-timeout begins anew. True when it is to stop. */
bool stage_tick(void);
int stage_stop_signal(void);    /* which one: 0 none */
void stage_catch_signals(void); /* for programs that do not use stage_main; ignores SIGPIPE */
/* The same, first thing in main: programs share the cores with each other, so OpenMP's threads that wait may spin for
 * microseconds, but not for long. Its library reads that from the environment before main: starts the program anew
 * where nothing is set there. */
void stage_settle(char **argv);

/* Numbers in options: 0, or -1 with a usage error that names the option ("side" for --side) and the range. */
int option_int(const char *name, const char *arg, int64_t low, int64_t high, int64_t *value);
int option_double(const char *name, const char *arg, double low, double high, double *value);

#endif
