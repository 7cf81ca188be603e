/*
 * The rules as data: text files of sections. boilerplate.rules and language.rules are compiled in, a user's are added.
 *
 *   [define]
 *   NAME = REGEX        a part, used as {NAME}; named again, it gains alternatives
 *   [drop CLASS]
 *   NAME = REGEX        a boilerplate rule
 *   [KIND LANGUAGE]     words, shared, endings, articles, begins, alphabet, thresholds
 *   word word ...
 *
 * An indented line goes on with the one above; # opens a comment line.
 */
#ifndef ATELIER_FILTER_RULES_H
#define ATELIER_FILTER_RULES_H

#include "common/mem.h"
#include <stdbool.h>

struct rule {
    char *class; /* "date" */
    char *name;
    char *regex;
    char *where; /* "FILE:LINE", for errors */
};

struct rule_list {
    char *kind;     /* "words" */
    char *language; /* "en" */
    char *where;
    struct buf text; /* its words, white space between */
};

/* Zero-initialise. */
struct rules {
    struct rule *parts; /* class is NULL */
    size_t part_count;
    struct rule *drops;
    size_t drop_count;
    struct rule_list *lists;
    size_t list_count;
};

/* Adds what is compiled in. 0 or -1. */
int rules_add_default(struct rules *r);
/* Adds a file, or text that came from `name`. 0, or -1 with an error that names file and line. */
int rules_add_file(struct rules *r, const char *path);
int rules_add_text(struct rules *r, const char *name, const char *text, size_t len);
void rules_free(struct rules *r);

/* Appends the rule's regular expression to `out`, each {NAME} replaced by a call of the group of that name, or,
 * `alone`, by an empty group. 0 or -1. */
int rules_expand(const struct rules *r, const struct rule *rule, bool alone, struct buf *out);

#endif
