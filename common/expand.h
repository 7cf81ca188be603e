/*
 * Brace expansion of file names, as in the shell: {000..099} counts (zero-padded where a bound is), {a,b} lists,
 * several combine, the last running fastest. Other braces stand for themselves.
 */
#ifndef ATELIER_COMMON_EXPAND_H
#define ATELIER_COMMON_EXPAND_H

#include <stddef.h>

#define EXPAND_MAX_NAMES 100000u

struct names {
    char **name;
    size_t count, cap;
};

void names_add(struct names *names, char *name);             /* takes over the string, which was malloc'ed */
int expand_braces(struct names *names, const char *pattern); /* 0, or -1 (ERR_USAGE) when there are too many */
void names_free(struct names *names);

#endif
