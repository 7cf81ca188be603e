/*
 * A pipeline file and the commands that it stands for (run_plan.h). Source and store bind their links, and between two
 * other stages stands a queue, so that any of these can get one more copy at any time.
 */
#include "pipelines/run_plan.h"
#include "common/err.h"
#include "common/mem.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE_BYTES (1u << 20)

struct words {
    char **data;
    size_t len;
};

static void add_word(struct words *w, char *word)
{
    w->data = xrealloc(w->data, (w->len + 2) * sizeof *w->data);
    w->data[w->len++] = word;
    w->data[w->len] = NULL;
}

static void words_free(struct words *w)
{
    for (size_t i = 0; i < w->len; i++)
        free(w->data[i]);
    free(w->data);
    *w = (struct words){0};
}

/* Takes the next word from *at, without its quotes: NULL at the line's end, or with an error and *at NULL. */
static char *next_word(const char **at, const char *where)
{
    struct buf word = {0};
    const char *c = *at;
    while (isblank((unsigned char)*c))
        c++;
    if (*c == 0 || *c == '#')
        return NULL;
    for (char quote = 0; *c && (quote || !isblank((unsigned char)*c)); c++) {
        if (quote ? *c == quote : *c == '"' || *c == '\'')
            quote = quote ? 0 : *c;
        else
            buf_append(&word, c, 1);
        if (c[1] == 0 && quote) {
            err_set(ERR_USAGE, "%s: the quote %c is not closed", where, quote);
            buf_free(&word);
            *at = NULL;
            return NULL;
        }
    }
    *at = c;
    return buf_string(&word);
}

static bool is_copies(const char *word, unsigned *copies)
{
    char *end;
    if (word[0] != 'x' || !isdigit((unsigned char)word[1]))
        return false;
    unsigned long n = strtoul(word + 1, &end, 10);
    *copies = n <= PLAN_MAX_COPIES ? (unsigned)n : 0;
    return *end == 0;
}

/* Adds a step with its name as the first word. */
static int read_line(struct plan *p, const char *line, const char *where)
{
    struct words w = {0};
    unsigned copies = 1;
    char *word;
    while ((word = next_word(&line, where)))
        add_word(&w, word);
    if (w.len == 0)
        return line ? 0 : -1;
    int rc = line ? 0 : -1;
    if (rc == 0 && w.len > 1 && is_copies(w.data[w.len - 1], &copies)) {
        free(w.data[--w.len]);
        w.data[w.len] = NULL;
    }
    if (rc == 0 && copies == 0)
        rc = err_set(ERR_USAGE, "%s: from x1 to x%d copies", where, PLAN_MAX_COPIES);
    if (rc < 0) {
        words_free(&w);
        return -1;
    }
    p->steps = xrealloc(p->steps, (p->count + 1) * sizeof *p->steps);
    const char *slash = strrchr(w.data[0], '/');
    p->steps[p->count++] = (struct plan_step){
        .name = xstrdup(slash ? slash + 1 : w.data[0]), .copies = copies, .argv = w.data, .argc = w.len};
    return 0;
}

static int read_lines(struct plan *p, const char *file)
{
    struct buf text = {0};
    int rc = file_read(file, MAX_FILE_BYTES, &text), number = 1;
    char *rest = rc < 0 ? NULL : buf_string(&text), *line;
    for (; rc == 0 && (line = strsep(&rest, "\n")); number++) {
        char *where = xasprintf("%s:%d", file, number);
        rc = read_line(p, line, where);
        free(where);
    }
    buf_free(&text);
    return rc;
}

static int check(struct plan *p, const char *file)
{
    const struct plan_step *last = p->count ? &p->steps[p->count - 1] : NULL;
    if (p->count < 2 || strcmp(last->name, "store") != 0 || last->argc != 2 || last->copies != 1)
        return err_set(ERR_USAGE, "%s: a pipeline is two stages at least, and its last line is: store PATH", file);
    if (p->steps[0].copies != 1)
        return err_set(ERR_USAGE, "%s: the first stage reads the input: it has one copy", file);
    p->store = xstrdup(last->argv[1]);
    return 0;
}

static void add_arguments(struct plan_step *s, const char *const *arguments)
{
    struct words w = {s->argv, s->argc};
    for (; *arguments; arguments++)
        add_word(&w, xstrdup(*arguments));
    s->argv = w.data;
    s->argc = w.len;
}

/* Makes room for a step at `at`. */
static struct plan_step *insert_step(struct plan *p, size_t at)
{
    p->steps = xrealloc(p->steps, (p->count + 1) * sizeof *p->steps);
    memmove(p->steps + at + 1, p->steps + at, (p->count - at) * sizeof *p->steps);
    p->steps[at] = (struct plan_step){0};
    p->count++;
    return &p->steps[at];
}

/* Joins step i and the next one: gives the number of steps that were put between. */
static size_t join(struct plan *p, size_t i, const char *bin)
{
    bool from_source = i == 0, to_store = i + 2 == p->count, queued = !from_source && !to_store;
    char *link = xasprintf("ipc://%s/%zu", p->dir, i), *next = xasprintf("ipc://%s/%zu", p->dir, i + queued);
    char *out = xasprintf("%s%s", from_source && !to_store ? "bind+" : "", link);
    char *in = xasprintf("%s%s", to_store ? "bind+" : "", next);
    add_arguments(&p->steps[i], (const char *const[]){"--out", out, NULL});
    add_arguments(&p->steps[i + 1], (const char *const[]){"--in", in, "--run", p->run, NULL});
    if (queued) {
        struct plan_step *q = insert_step(p, i + 1);
        q->name = xstrdup("queue");
        q->copies = 1;
        char *program = xasprintf("%s/atelier-queue", bin);
        add_arguments(q, (const char *const[]){program, "--in", link, "--out", next, "--run", p->run, NULL});
        free(program);
    }
    free(link);
    free(next);
    free(out);
    free(in);
    return queued;
}

int plan_read(struct plan *p, const char *file, const char *bin, const char *dir)
{
    *p = (struct plan){.dir = xstrdup(dir)};
    if (read_lines(p, file) < 0 || check(p, file) < 0)
        return -1;
    plan_identify(p);
    for (size_t i = 0; i + 1 < p->count; i++) {
        struct plan_step *s = &p->steps[i];
        if (strchr(s->argv[0], '/') == NULL) {
            free(s->argv[0]);
            s->argv[0] = xasprintf("%s/atelier-%s", bin, s->name);
        }
    }
    struct plan_step *store = &p->steps[p->count - 1];
    words_free(&(struct words){store->argv, store->argc});
    store->argv = NULL;
    store->argc = 0;
    char *program = xasprintf("%s/atelier-store", bin);
    add_arguments(store, (const char *const[]){program, "import", p->store, NULL});
    free(program);
    add_arguments(&p->steps[0], (const char *const[]){"--run", p->run, NULL});
    for (size_t i = 0; i + 1 < p->count; i++)
        i += join(p, i, bin);
    return 0;
}

void plan_free(struct plan *p)
{
    for (size_t i = 0; i < p->count; i++) {
        free(p->steps[i].name);
        words_free(&(struct words){p->steps[i].argv, p->steps[i].argc});
    }
    free(p->steps);
    free(p->store);
    free(p->dir);
    *p = (struct plan){0};
}

char **plan_argv(const struct plan_step *step, const char *const *more)
{
    struct words w = {0};
    for (size_t i = 0; i < step->argc; i++)
        add_word(&w, xstrdup(step->argv[i]));
    for (; *more; more++)
        add_word(&w, xstrdup(*more));
    return w.data;
}

void plan_argv_free(char **argv)
{
    for (size_t i = 0; argv[i]; i++)
        free(argv[i]);
    free(argv);
}

void plan_print_word(const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=+,@%";
    if (*word && strspn(word, plain) == strlen(word)) {
        fputs(word, stdout);
        return;
    }
    putchar('\'');
    for (; *word; word++)
        fputs(*word == '\'' ? "'\\''" : (char[]){*word, 0}, stdout);
    putchar('\'');
}

void plan_print(char *const *argv)
{
    for (; *argv; argv++) {
        plan_print_word(*argv);
        fputs(argv[1] ? " " : " &\n", stdout);
    }
}
