/*
 * Boilerplate: what a caption says beside dates, file names and stock phrases. All rules are one regular expression,
 * tried where words begin, so a caption is read once, and no further than the words that save it.
 */
#ifndef ATELIER_FILTER_BOILERPLATE_H
#define ATELIER_FILTER_BOILERPLATE_H

#include "filter/rules.h"
#include "filter/words.h"

struct boilerplate;

/* Compiles the rules, whose names are kept. 0, or -1 with an error that names the rule that is at fault. */
int boilerplate_open(struct boilerplate **b, const struct rules *rules);
void boilerplate_close(struct boilerplate **b);

struct boilerplate_match {
    const struct rule *rule; /* of the struct rules given */
    size_t start, end;       /* bytes of the cleaned caption */
};

/* Called for each match, in order. */
typedef void boilerplate_found(void *arg, const struct boilerplate_match *match);

/* Counts in *left what a cleaned caption says beside boilerplate, and stops when that is enough (words_enough with
 * `least`; SIZE_MAX: never). `found` may be NULL. */
void boilerplate_take_out(struct boilerplate *b, const char *text, size_t len, size_t least, struct word_count *left,
                          boilerplate_found *found, void *arg);

#endif
