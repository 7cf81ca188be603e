/* Rules files (rules.h). */
#include "filter/rules.h"
#include "common/err.h"
#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define FILE_LIMIT (16u << 20)
#define NAME_LIMIT 32 /* PCRE2's, of groups */

static const char *const list_kinds[] = {"words", "shared", "endings", "articles", "begins", "alphabet", "thresholds"};

struct parser {
    struct rules *rules;
    const char *file;
    int line;
    char *class;            /* of the open [drop CLASS], NULL in others */
    struct rule_list *list; /* the open list section, NULL in others */
    struct rule *last;      /* what an indented line goes on with */
    bool in_section;
};

static int fail(const struct parser *p, const char *problem)
{
    return err_set(ERR_DATA, "%s:%d: %s", p->file, p->line, problem);
}

/* Cuts white space at both ends, in place. */
static char *trim(char *s)
{
    s += strspn(s, " \t\r");
    size_t n = strlen(s);
    while (n > 0 && strchr(" \t\r", s[n - 1]))
        n--;
    s[n] = 0;
    return s;
}

static void append(char **text, const char *more)
{
    char *longer = xasprintf("%s%s", *text, more);
    free(*text);
    *text = longer;
}

static int open_list(struct parser *p, const char *kind, const char *language)
{
    for (size_t i = 0; i < sizeof list_kinds / sizeof *list_kinds; i++) {
        if (strcmp(kind, list_kinds[i]) != 0)
            continue;
        struct rules *r = p->rules;
        r->lists = xrealloc(r->lists, (r->list_count + 1) * sizeof *r->lists);
        p->list = &r->lists[r->list_count++];
        *p->list = (struct rule_list){
            .kind = xstrdup(kind), .language = xstrdup(language), .where = xasprintf("%s:%d", p->file, p->line)};
        return 0;
    }
    return fail(
        p, "unknown section; there are define, drop CLASS, and words, shared, endings, articles, begins, alphabet, "
           "thresholds LANGUAGE");
}

static int open_section(struct parser *p, char *line)
{
    char *end = strchr(line, ']');
    if (!end || *trim(end + 1))
        return fail(p, "a section is [KIND] or [KIND NAME]");
    *end = 0;
    char *kind = trim(line + 1), *name = kind + strcspn(kind, " \t");
    if (*name)
        *name++ = 0;
    name = trim(name);
    free(p->class);
    p->class = NULL;
    p->list = NULL;
    p->last = NULL;
    p->in_section = true;
    if (strcmp(kind, "define") == 0)
        return *name ? fail(p, "[define] takes no name") : 0;
    if (!*name)
        return fail(p, "the section lacks its name: [drop date], [words en]");
    if (strcmp(kind, "drop") != 0)
        return open_list(p, kind, name);
    p->class = xstrdup(name);
    return 0;
}

static struct rule *find_part(const struct rules *r, const char *name, size_t len)
{
    for (size_t i = 0; i < r->part_count; i++)
        if (strncmp(r->parts[i].name, name, len) == 0 && r->parts[i].name[len] == 0)
            return &r->parts[i];
    return NULL;
}

/* What can stand in {}. */
static bool is_part_name(const char *name)
{
    const char *p = name;
    while (islower((unsigned char)*p) || (p > name && isdigit((unsigned char)*p)))
        p++;
    return p > name && !*p && p - name <= NAME_LIMIT;
}

static int add_rule(struct parser *p, char *line)
{
    char *equal = strchr(line, '=');
    if (!equal)
        return fail(p, "expected NAME = REGEX");
    *equal = 0;
    char *name = trim(line), *regex = trim(equal + 1);
    if (!*name || !*regex)
        return fail(p, "expected NAME = REGEX");
    if (!p->class && !is_part_name(name))
        return fail(p, "the name of a part is lower-case letters and digits");
    struct rules *r = p->rules;
    struct rule *known = p->class ? NULL : find_part(r, name, strlen(name));
    if (known) {
        append(&known->regex, "|");
        append(&known->regex, regex);
        p->last = known;
        return 0;
    }
    struct rule **rules = p->class ? &r->drops : &r->parts;
    size_t *count = p->class ? &r->drop_count : &r->part_count;
    *rules = xrealloc(*rules, (*count + 1) * sizeof **rules);
    p->last = &(*rules)[(*count)++];
    *p->last = (struct rule){.class = p->class ? xstrdup(p->class) : NULL,
                             .name = xstrdup(name),
                             .regex = xstrdup(regex),
                             .where = xasprintf("%s:%d", p->file, p->line)};
    return 0;
}

static int parse_line(struct parser *p, char *line)
{
    bool indented = *line == ' ' || *line == '\t';
    line = trim(line);
    if (!*line || *line == '#')
        return 0;
    if (*line == '[' && !indented)
        return open_section(p, line);
    if (!p->in_section)
        return fail(p, "expected a section such as [drop phrase] first");
    if (p->list) {
        buf_printf(&p->list->text, "%s\n", line);
        return 0;
    }
    if (!indented)
        return add_rule(p, line);
    if (!p->last)
        return fail(p, "an indented line goes on with a rule, and there is none above");
    append(&p->last->regex, line);
    return 0;
}

int rules_add_text(struct rules *r, const char *name, const char *text, size_t len)
{
    struct parser p = {.rules = r, .file = name};
    int result = 0;
    for (size_t i = 0; i < len && result == 0;) {
        const char *end = memchr(text + i, '\n', len - i);
        size_t n = end ? (size_t)(end - text) - i : len - i;
        char *line = xmalloc(n + 1);
        memcpy(line, text + i, n);
        line[n] = 0;
        p.line++;
        result = strlen(line) == n ? parse_line(&p, line) : fail(&p, "a NUL byte: this is no text");
        free(line);
        i += n + 1;
    }
    free(p.class);
    return result;
}

int rules_add_file(struct rules *r, const char *path)
{
    struct buf text = {0};
    int result = file_read(path, FILE_LIMIT, &text);
    if (result == 0)
        result = rules_add_text(r, path, buf_string(&text), text.len);
    buf_free(&text);
    return result;
}

static void free_rules(struct rule *rules, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(rules[i].class);
        free(rules[i].name);
        free(rules[i].regex);
        free(rules[i].where);
    }
    free(rules);
}

void rules_free(struct rules *r)
{
    free_rules(r->parts, r->part_count);
    free_rules(r->drops, r->drop_count);
    for (size_t i = 0; i < r->list_count; i++) {
        free(r->lists[i].kind);
        free(r->lists[i].language);
        free(r->lists[i].where);
        buf_free(&r->lists[i].text);
    }
    free(r->lists);
    *r = (struct rules){0};
}

/* The length of a {name} at p, 0: none. \p{Lu} and {2,3} are the regular expression's own. */
static size_t reference_length(const char *start, const char *p)
{
    bool escaped = p - start >= 2 && p[-2] == '\\' && isalpha((unsigned char)p[-1]);
    if (*p != '{' || escaped || !islower((unsigned char)p[1]))
        return 0;
    size_t n = 1;
    while (islower((unsigned char)p[n]) || isdigit((unsigned char)p[n]))
        n++;
    return p[n] == '}' ? n + 1 : 0;
}

int rules_expand(const struct rules *r, const struct rule *rule, bool alone, struct buf *out)
{
    for (const char *p = rule->regex; *p; p++) {
        size_t n = reference_length(rule->regex, p);
        if (n == 0)
            buf_append(out, p, 1);
        else if (!find_part(r, p + 1, n - 2))
            return err_set(ERR_DATA, "%s: '%s' uses %.*s, which no [define] names", rule->where, rule->name, (int)n, p);
        else if (alone)
            buf_append(out, "(?:)", 4);
        else
            buf_printf(out, "(?&%.*s)", (int)n - 2, p + 1);
        p += n ? n - 1 : 0;
    }
    return 0;
}
