/*
 * Options of stages (stage.h): those that all share, beside a stage's own, through argp.
 */
#include "common/stage_options.h"
#include "common/err.h"
#include "common/link_wire.h"
#include <errno.h>
#include <limits.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEY_IN = 0x1001,
    KEY_OUT,
    KEY_FROM,
    KEY_THREADS,
    KEY_LOG,
    KEY_STATS,
    KEY_REJECTS,
    KEY_MAX_REJECTS,
    KEY_KEEP_REJECTS,
    KEY_RUN,
    KEY_BATCH,
    KEY_TIMEOUT,
    KEY_KEYS,
    KEY_METRICS,
    KEY_INSECURE,
    KEY_DRY_RUN
};

/* Behind all groups of a stage's own options. */
#define GROUP 90

static const struct argp_option common_options[] = {
    {NULL, 0, NULL, 0, "Common to all stages:", GROUP},
    {"in", KEY_IN, "URI", 0,
     "Read records from here: - (a record stream, the default), jsonl:FILE, text:FILE, "
     "tsv:FILE#caption=COLUMN,...&image=COLUMN, tar:PATTERN, dir:PATH, lmdb:PATH, or a link: tcp://HOST:PORT, "
     "ipc://PATH "
     "(bind+ in front binds instead of connecting)",
     GROUP},
    {"out", KEY_OUT, "URI", 0, "Write records there: the same kinds but tsv, - the default", GROUP},
    {"from", KEY_FROM, "N", 0, "Skip the records with ids below N", GROUP},
    {"threads", KEY_THREADS, "N", 0, "Use N threads (default: one a core)", GROUP},
    {"log", KEY_LOG, "FORMAT", 0, "Messages as text (default) or json", GROUP},
    {"stats", KEY_STATS, "FILE", 0, "Write statistics as JSON at the end", GROUP},
    {"rejects", KEY_REJECTS, "FILE", 0, "Write what this stage rejects, one JSON object a line", GROUP},
    {"max-rejects", KEY_MAX_REJECTS, "N|P%", 0, "End with code 65 when more records were rejected", GROUP},
    {"keep-rejects", KEY_KEEP_REJECTS, NULL, 0, "Write rejects to jsonl, text, tar and dir too", GROUP},
    {"run", KEY_RUN, "NAME", 0, "The run that the records belong to; links and stores of another are refused", GROUP},
    {"batch", KEY_BATCH, "N", 0, "Records in a batch of a link, from a program that reads from elsewhere (64)", GROUP},
    {"record-timeout", KEY_TIMEOUT, "SECONDS", 0, "Give up when a link's record takes longer (120)", GROUP},
    {"keys", KEY_KEYS, "DIR", 0, "Keys for links between hosts (atelier keys DIR)", GROUP},
    {"insecure", KEY_INSECURE, NULL, 0, "Let links and metrics reach other hosts without keys", GROUP},
    {"metrics", KEY_METRICS, "HOST:PORT", 0, "Serve /metrics, /healthz and /readyz there (or at a socket's PATH)",
     GROUP},
    {"dry-run", KEY_DRY_RUN, NULL, 0, "Process all, write nothing but statistics and rejects", GROUP},
    {0},
};

struct parse {
    const struct stage *stage;
    void *self;
    struct stage_options *options;
};

int option_int(const char *name, const char *arg, int64_t low, int64_t high, int64_t *value)
{
    char *end;
    errno = 0;
    long long parsed = strtoll(arg, &end, 10);
    if (end == arg || *end != 0 || errno != 0 || parsed < low || parsed > high)
        return err_set(ERR_USAGE, "--%s: '%s' is not a whole number from %lld to %lld", name, arg, (long long)low,
                       (long long)high);
    *value = parsed;
    return 0;
}

int option_double(const char *name, const char *arg, double low, double high, double *value)
{
    char *end;
    double parsed = strtod(arg, &end);
    bool inside = parsed >= low && parsed <= high; /* false for NaN */
    if (end == arg || *end != 0 || !inside)
        return err_set(ERR_USAGE, "--%s: '%s' is not a number from %g to %g", name, arg, low, high);
    *value = parsed;
    return 0;
}

static int read_max_rejects(struct stage_options *o, const char *arg)
{
    char number[32];
    size_t len = strlen(arg);
    o->max_rejects_percent = len > 0 && arg[len - 1] == '%';
    snprintf(number, sizeof number, "%.*s", (int)(len - o->max_rejects_percent), arg);
    if (o->max_rejects_percent)
        return option_double("max-rejects", number, 0, 100, &o->max_rejects);
    int64_t count;
    if (option_int("max-rejects", arg, 0, INT64_MAX, &count) < 0)
        return -1;
    o->max_rejects = (double)count;
    return 0;
}

static int read_common(struct stage_options *o, int key, const char *arg)
{
    int64_t number;
    switch (key) {
    case KEY_IN:
        o->in = arg;
        return 0;
    case KEY_OUT:
        o->out = arg;
        return 0;
    case KEY_FROM:
        if (option_int("from", arg, 0, INT64_MAX, &number) < 0)
            return -1;
        o->from = (uint64_t)number;
        return 0;
    case KEY_THREADS:
        if (option_int("threads", arg, 1, 4096, &number) < 0)
            return -1;
        omp_set_num_threads((int)number);
        return 0;
    case KEY_LOG:
        o->json_log = strcmp(arg, "json") == 0;
        return o->json_log || strcmp(arg, "text") == 0 ? 0 : err_set(ERR_USAGE, "--log: '%s' is not text or json", arg);
    case KEY_STATS:
        o->stats = arg;
        return 0;
    case KEY_REJECTS:
        o->rejects = arg;
        return 0;
    case KEY_MAX_REJECTS:
        return read_max_rejects(o, arg);
    case KEY_KEEP_REJECTS:
        o->keep_rejects = true;
        return 0;
    case KEY_RUN:
        o->run = arg;
        return strlen(arg) <= LINK_MAX_TEXT_BYTES ? 0 : err_set(ERR_USAGE, "--run: over %d bytes", LINK_MAX_TEXT_BYTES);
    case KEY_BATCH:
        if (option_int("batch", arg, 1, 4096, &number) < 0)
            return -1;
        o->link.batch = (uint32_t)number;
        return 0;
    case KEY_TIMEOUT:
        if (option_int("record-timeout", arg, 1, 1 << 20, &number) < 0)
            return -1;
        o->record_timeout = (unsigned)number;
        return 0;
    case KEY_KEYS:
        o->link.keys = arg;
        return 0;
    case KEY_METRICS:
        o->metrics = arg;
        return 0;
    case KEY_INSECURE:
        o->link.insecure = true;
        return 0;
    default:
        o->dry_run = true;
        return 0;
    }
}

static error_t parse_common(int key, char *arg, struct argp_state *state)
{
    const struct parse *p = state->input;
    if (key < KEY_IN || key > KEY_DRY_RUN)
        return ARGP_ERR_UNKNOWN;
    if (read_common(p->options, key, arg) < 0)
        argp_error(state, "%s", err_text());
    return 0;
}

static error_t parse_own(int key, char *arg, struct argp_state *state)
{
    const struct parse *p = state->input;
    if (key == ARGP_KEY_INIT)
        state->child_inputs[0] = state->input;
    if (key == ARGP_KEY_ARG)
        argp_error(state, "'%s' is no option; files are named by --in and --out", arg);
    bool own = false;
    for (const struct argp_option *o = p->stage->options; o && (o->name || o->key || o->doc); o++)
        own = own || (o->key != 0 && o->key == key);
    if (!own)
        return ARGP_ERR_UNKNOWN;
    if (p->stage->option(p->self, key, arg) < 0)
        argp_error(state, "%s", err_text());
    return 0;
}

void stage_options_parse(const struct stage *stage, void *self, int argc, char **argv, struct stage_options *options)
{
    struct parse parse = {stage, self, options};
    const struct argp shared = {.options = common_options, .parser = parse_common};
    const struct argp_child children[] = {{&shared, 0, NULL, 0}, {0}};
    const struct argp argp = {.options = stage->options, .parser = parse_own, .doc = stage->doc, .children = children};
    char version[64];
    snprintf(version, sizeof version, "atelier-%s %s", stage->name, ATELIER_VERSION);
    argp_program_version = version;
    argp_err_exit_status = ERR_USAGE;
    *options =
        (struct stage_options){.in = "-", .out = "-", .max_rejects = -1, .link.batch = 64, .record_timeout = 120};
    if (argp_parse(&argp, argc, argv, 0, NULL, &parse) != 0)
        mem_gone(0);
    argp_program_version = NULL;
}
