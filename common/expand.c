/*
 * Brace expansion (expand.h).
 */
#include "common/expand.h"
#include "common/err.h"
#include "common/mem.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DIGITS 18

/* Where the brace that opens at `open` closes, or NULL. */
static const char *closing(const char *open)
{
    int depth = 0;
    for (const char *p = open; *p; p++) {
        depth += (*p == '{') - (*p == '}');
        if (depth == 0)
            return p;
    }
    return NULL;
}

static const char *top_comma(const char *from, const char *end)
{
    int depth = 0;
    for (const char *p = from; p < end; p++) {
        depth += (*p == '{') - (*p == '}');
        if (depth == 0 && *p == ',')
            return p;
    }
    return NULL;
}

struct range {
    long long first, last;
    int width; /* digits to pad to; 0: none */
};

/* FIRST..LAST between the braces. */
static bool read_range(const char *from, const char *end, struct range *range)
{
    size_t first = strspn(from, "0123456789");
    const char *second = from + first + 2;
    if (first == 0 || first > MAX_DIGITS || strncmp(from + first, "..", 2) != 0)
        return false;
    size_t last = strspn(second, "0123456789");
    if (last == 0 || last > MAX_DIGITS || second + last != end)
        return false;
    range->first = strtoll(from, NULL, 10);
    range->last = strtoll(second, NULL, 10);
    bool padded = (first > 1 && *from == '0') || (last > 1 && *second == '0');
    range->width = padded ? (int)(first > last ? first : last) : 0;
    return true;
}

static int expand(struct names *names, const char *done, const char *todo);

/* Goes on behind a brace with one of its values: `done` + `before` the brace + the value, and the rest still to do. */
static int with_value(struct names *names, const char *done, const char *todo, size_t before, const char *value,
                      size_t len, const char *rest)
{
    /* A listed value may hold braces, so it is still to be done; what stands before it is not. */
    char *prefix = xasprintf("%s%.*s", done, (int)before, todo);
    char *tail = xasprintf("%.*s%s", (int)len, value, rest);
    int result = expand(names, prefix, tail);
    free(prefix);
    free(tail);
    return result;
}

static int expand_range(struct names *names, const char *done, const char *todo, size_t before, struct range range,
                        const char *rest)
{
    long long step = range.first <= range.last ? 1 : -1;
    for (long long i = range.first;; i += step) {
        char value[32];
        int len = snprintf(value, sizeof value, "%0*lld", range.width, i);
        if (with_value(names, done, todo, before, value, (size_t)len, rest) < 0)
            return -1;
        if (i == range.last)
            return 0;
    }
}

static int expand(struct names *names, const char *done, const char *todo)
{
    for (const char *open = strchr(todo, '{'); open != NULL; open = strchr(open + 1, '{')) {
        const char *close = closing(open);
        struct range range;
        if (close == NULL)
            continue;
        size_t before = (size_t)(open - todo);
        if (read_range(open + 1, close, &range))
            return expand_range(names, done, todo, before, range, close + 1);
        if (top_comma(open + 1, close) == NULL)
            continue;
        for (const char *value = open + 1;;) {
            const char *comma = top_comma(value, close), *end = comma ? comma : close;
            if (with_value(names, done, todo, before, value, (size_t)(end - value), close + 1) < 0)
                return -1;
            if (comma == NULL)
                return 0;
            value = comma + 1;
        }
    }
    if (names->count == EXPAND_MAX_NAMES)
        return err_set(ERR_USAGE, "the pattern stands for more than %u names", EXPAND_MAX_NAMES);
    names_add(names, xasprintf("%s%s", done, todo));
    return 0;
}

int expand_braces(struct names *names, const char *pattern)
{
    *names = (struct names){0};
    if (expand(names, "", pattern) == 0)
        return 0;
    names_free(names);
    return err_wrap("%s", pattern);
}

void names_add(struct names *names, char *name)
{
    if (names->count == names->cap) {
        names->cap = names->cap ? 2 * names->cap : 16;
        names->name = xrealloc(names->name, names->cap * sizeof *names->name);
    }
    names->name[names->count++] = name;
}

void names_free(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->name[i]);
    free(names->name);
    *names = (struct names){0};
}
