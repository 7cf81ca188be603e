/*
 * A pipeline file and the commands that it stands for. A line is a stage: its name, its options, and xN for N copies;
 * the last one is `store PATH`. A name with a '/' is a program of one's own. '#' begins a comment, quotes hold words
 * together.
 *
 *     filter   --in tar:cc/{00000..00331}.tar
 *     tokenize --vocab bpe.json                 x2
 *     encode   --dvae dvae.safetensors          x8
 *     store    codes
 */
#ifndef ATELIER_PIPELINES_RUN_PLAN_H
#define ATELIER_PIPELINES_RUN_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLAN_MAX_COPIES 512

/* A program of the run; a queue is one too. */
struct plan_step {
    char *name;
    unsigned copies;
    char **argv; /* ends with NULL; argv[0] is the program's path */
    size_t argc;
};

struct plan {
    char *dir;               /* of the run: sockets and logs */
    char *store;             /* the store's path */
    char run[24];            /* its identity */
    struct plan_step *steps; /* the source first, the store last */
    size_t count;
};

/* Reads FILE.pipe and makes the commands, with their programs in `bin` and their links under `dir`. 0 or -1. */
int plan_read(struct plan *p, const char *file, const char *bin, const char *dir);
void plan_free(struct plan *p);

/* run_identity.c: gives the plan its run: a hash of the words of all stages and of the files that they name. What
 * changes no record does not count: numbers of copies and threads, logs, statistics, keys. */
void plan_identify(struct plan *p);

/* A step's command with more words behind it, NULL the last: to be freed with plan_argv_free. */
char **plan_argv(const struct plan_step *step, const char *const *more);
void plan_argv_free(char **argv);

/* A command as a person could type it, in the background. */
void plan_print(char *const *argv);
void plan_print_word(const char *word); /* as a shell reads it back */

#endif
