/*
 * atelier-store COMMAND STORE [OPTION...|NEW]: what the store holds, whether it is whole, and copies of it elsewhere.
 * cat, export and import are the stage skeleton with nothing to do to a record: all its options apply.
 */
#include "common/err.h"
#include "common/log.h"
#include "common/stage.h"
#include "common/store.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CODES_MOST ((size_t)1 << 20) /* no dVAE has more */

static int verify(const char *path)
{
    struct store_report r;
    if (store_verify(path, &r) < 0)
        return -1;
    printf("%-24s %" PRIu64 "\n%-24s %" PRIu64 "\n%-24s %" PRIu64 "\n", "records", r.kept + r.rejects, "kept", r.kept,
           "rejected", r.rejects);
    for (uint32_t i = 0; i < r.rule_count; i++)
        printf("  %-22s %" PRIu64 "\n", r.rules[i].name, r.rules[i].count);
    printf("%-24s %" PRIu64 "\n", "bytes", r.bytes);
    if (r.unsealed > 0)
        log_warn(
            "%u of the shards have no checksum file: their writer was killed or is still running; their records were "
            "checked, unused space was not",
            r.unsealed);
    for (uint64_t i = 0; i < r.problem_count && i < STORE_MAX_PROBLEMS; i++)
        log_error("%s", r.problems[i]);
    if (r.problem_count > 0)
        return err_set(ERR_DATA,
                       "%s: damaged: %" PRIu64 " problems; import what can be read into a new store: atelier-store "
                       "import NEW --in lmdb:%s",
                       path, r.problem_count, path);
    printf("undamaged: %" PRIu64 " ids, each once\n", r.cursor);
    return 0;
}

static int print_stats(struct store *s)
{
    struct store_stats stats;
    if (store_stats(s, &stats) < 0)
        return -1;
    uint64_t all = stats.records + stats.rejects;
    printf("{\"records\": %" PRIu64 ", \"kept\": %" PRIu64 ", \"rejected\": %" PRIu64 ", \"bytes\": %" PRIu64
           ", \"bytes_per_record\": %.1f}\n",
           all, stats.records, stats.rejects, stats.bytes, all > 0 ? (double)stats.bytes / (double)all : 0.0);
    return 0;
}

static int print_cursor(struct store *s)
{
    printf("%" PRIu64 "\n", store_cursor(s));
    return 0;
}

static int print_digest(struct store *s)
{
    uint64_t digest;
    if (store_digest(s, &digest) < 0)
        return -1;
    printf("%016" PRIx64 "\n", digest);
    return 0;
}

/* How much of the codebook the store's pictures use: a collapsed one is a dVAE's commonest failure. */
static int print_codes(struct store *s)
{
    struct record r = {0};
    uint64_t *uses = xcalloc(CODES_MOST, sizeof *uses), all = 0;
    size_t known = 0, used = 0;
    int rc = 0;
    for (uint64_t id = 0; id < store_cursor(s) && rc >= 0; id++) {
        rc = store_get(s, id, &r);
        for (size_t i = 0; rc == 1 && record_has(&r, FIELD_CODES) && i < r.codes.len; i++) {
            size_t code = (size_t)r.codes.data[i];
            if (code >= CODES_MOST)
                continue; /* no dVAE's */
            if (code >= known)
                known = code + 1;
            uses[code]++;
            all++;
        }
    }
    double entropy = 0;
    for (size_t i = 0; i < known; i++)
        if (uses[i]) {
            double p = (double)uses[i] / (double)all;
            entropy -= p * log(p);
            used++;
        }
    if (rc >= 0)
        printf("{\"codes\": %" PRIu64 ", \"in_use\": %zu, \"largest\": %zd, \"perplexity\": %.1f}\n", all, used,
               (ssize_t)known - 1, exp(entropy));
    free(uses);
    record_free(&r);
    return rc < 0 ? -1 : 0;
}

/* A store of equal records under the same run has equal files, but for LMDB's lock files. */
static int compact(struct store *from, const char *path)
{
    struct store *to;
    struct record r = {0};
    if (store_open_write(&to, path, store_run(from)) < 0)
        return -1;
    store_commit_evenly(to);
    int rc = 0;
    for (uint64_t id = store_cursor(to); id < store_cursor(from) && rc == 0; id++) {
        int found = stage_stopping() ? err_set(ERR_AGAIN, "%s: stopped by a signal: the same command goes on", path)
                                     : store_get(from, id, &r);
        rc = found > 0 ? store_put(to, &r) : found == 0 ? err_set(ERR_DATA, "id %" PRIu64 " is missing", id) : -1;
    }
    record_free(&r);
    return store_close(&to) < 0 ? -1 : rc;
}

static int pass_on(void *self, struct record *r, struct stage_output *out)
{
    (void)self;
    return stage_emit(out, r);
}

static const struct command {
    const char *name, *doc;
    int (*print)(struct store *s);                /* NULL: verify, or a copy */
    const char *copy[4];                          /* options of the stage; %s is the store */
    int (*to)(struct store *s, const char *path); /* takes a second path */
} commands[] = {
    {.name = "verify", .doc = "Read all, find any damage, print the accounting; exit 65 on damage"},
    {.name = "stats", .doc = "Print counts and sizes as JSON", .print = print_stats},
    {.name = "cursor", .doc = "Print the id that comes next", .print = print_cursor},
    {.name = "codes", .doc = "Print how many codes are in use, and their perplexity, as JSON", .print = print_codes},
    {.name = "digest", .doc = "Print a hash of all records, equal for equal stores", .print = print_digest},
    {.name = "cat",
     .doc = "Print all records, rejects too, one JSON object a line",
     .copy = {"--in=lmdb:%s", "--out=jsonl:-", "--keep-rejects"}},
    {.name = "export", .doc = "Copy the kept records to --out URI", .copy = {"--in=lmdb:%s"}},
    {.name = "import", .doc = "Copy records from --in URI to the store", .copy = {"--out=lmdb:%s"}},
    {.name = "compact", .doc = "Copy all to the store NEW, whose files depend on the records alone", .to = compact},
};

static int run_copy(const struct command *c, const char *path, int argc, char **argv)
{
    char *name = xasprintf("store %s", c->name);
    const struct stage stage = {.name = name, .doc = c->doc, .process = pass_on};
    char **all = xcalloc((size_t)argc + 5, sizeof *all);
    int count = 0;
    all[count++] = xasprintf("atelier-%s %s", name, path);
    for (int i = 0; c->copy[i]; i++) {
        const char *place = strstr(c->copy[i], "%s");
        all[count++] = place ? xasprintf("%.*s%s", (int)(place - c->copy[i]), c->copy[i], path) : xstrdup(c->copy[i]);
    }
    int own = count;
    for (int i = 0; i < argc; i++)
        all[count++] = argv[i];
    int code = stage_main(&stage, NULL, count, all);
    for (int i = 0; i < own; i++)
        free(all[i]);
    free(all);
    free(name);
    return code;
}

static int run_print(const struct command *c, const char *path, const char *to)
{
    struct store *s;
    if (!c->print && !c->to)
        return verify(path);
    if (store_open_read(&s, path) < 0)
        return -1;
    int rc = c->to ? c->to(s, to) : c->print(s);
    store_close(&s);
    return rc;
}

struct arguments {
    const struct command *command;
    const char *path, *to;
    int rest; /* the first argument behind both */
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    if (key == ARGP_KEY_ARG && state->arg_num == 0) {
        for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
            if (strcmp(arg, commands[i].name) == 0)
                a->command = &commands[i];
        }
        if (!a->command)
            argp_error(state, "no command '%s'", arg);
    } else if (key == ARGP_KEY_ARG) {
        a->path = arg;
        a->rest = state->next;
        if (a->command->to && a->rest + 1 == state->argc)
            a->to = state->argv[a->rest];
        else if (a->command->to)
            argp_error(state, "%s takes the path of another store", a->command->name);
        else if (a->rest < state->argc && !a->command->copy[0])
            argp_error(state, "%s takes no options", a->command->name);
        state->next = state->argc;
    } else if (key == ARGP_KEY_END && !a->path) {
        argp_error(state, "a command and a store are needed");
    } else {
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct buf doc = {0};
    stage_settle(argv); /* the arguments that run_copy makes are not those of the program */
    buf_printf(&doc, "Look at, check and copy a store of records.\v");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        buf_printf(&doc, "  %-8s %s\n", commands[i].name, commands[i].doc);
    buf_printf(&doc,
               "\ncat, export and import take a stage's options: atelier-store export STORE --help; compact takes NEW");
    const struct argp argp = {.parser = parse, .args_doc = "COMMAND STORE [OPTION...|NEW]", .doc = buf_string(&doc)};
    struct arguments a = {0};
    argp_program_version = "atelier-store " ATELIER_VERSION;
    argp_err_exit_status = ERR_USAGE;
    if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &a) != 0)
        mem_gone(0);
    buf_free(&doc);
    if (a.command->copy[0])
        return run_copy(a.command, a.path, argc - a.rest, argv + a.rest);
    log_open("store", false);
    stage_catch_signals();
    int rc = run_print(a.command, a.path, a.to);
    if (rc == 0 && fflush(stdout) != 0)
        rc = err_sys("stdout");
    if (rc < 0 && err_code() != ERR_PIPE)
        log_error("%s", err_text());
    return rc < 0 ? err_code() : 0;
}
