/*
 * atelier-run: runs a pipeline file (run_plan.h) on this host, each stage in as many copies as it says.
 *
 *     atelier-run preprocess.pipe              the store's cursor says where it goes on
 *     atelier-run preprocess.pipe --dry-run    the commands, to be typed by hand or given to a shell
 *
 * What dies is started again. The links live in a private directory, as do the logs of the programs.
 */
#include "common/clock.h"
#include "common/err.h"
#include "common/log.h"
#include "common/stage.h"
#include "common/stage_counts.h"
#include "common/store.h"
#include "pipelines/metrics.h"
#include "pipelines/run_children.h"
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TICK_US 50000
#define LOOK_SECONDS 1.0 /* between looks at the store */
#define END_SECONDS 8.0  /* for programs to end by themselves, then after TERM */

enum { KEY_DIR = 256, KEY_DRY_RUN, KEY_LOG };

struct run {
    const char *file;
    char *dir;
    bool dry_run, json_log;
    int lock;
    struct plan plan;
    struct children children;
    double start, looked;
    uint64_t first;    /* the store's cursor at the start */
    uint64_t expected; /* records in all, as the source guesses; 0: no guess yet */
    bool finished;
};

static const struct argp_option options[] = {
    {"dir", KEY_DIR, "DIR", 0, "Where links and logs live (default: FILE.run, in the present directory)", 0},
    {"dry-run", KEY_DRY_RUN, NULL, 0, "Print the commands", 0},
    {"log", KEY_LOG, "FORMAT", 0, "Messages as text (default) or json", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct run *r = state->input;
    switch (key) {
    case KEY_DIR:
        free(r->dir);
        r->dir = xstrdup(arg);
        return 0;
    case KEY_DRY_RUN:
        r->dry_run = true;
        return 0;
    case KEY_LOG:
        r->json_log = strcmp(arg, "json") == 0;
        if (!r->json_log && strcmp(arg, "text") != 0)
            argp_error(state, "--log: '%s' is not text or json", arg);
        return 0;
    case ARGP_KEY_ARG:
        if (r->file)
            argp_error(state, "one pipeline file, not also '%s'", arg);
        r->file = arg;
        return 0;
    case ARGP_KEY_END:
        if (r->file == NULL)
            argp_error(state, "a pipeline file is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* "a/preprocess.pipe": "preprocess.run" */
static char *default_dir(const char *file)
{
    const char *slash = strrchr(file, '/'), *name = slash ? slash + 1 : file, *dot = strrchr(name, '.');
    return xasprintf("%.*s.run", (int)(dot && dot > name ? dot - name : (long)strlen(name)), name);
}

static int read_plan(struct run *r)
{
    char bin[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", bin, sizeof bin - 1);
    if (len < 0)
        return err_sys("/proc/self/exe");
    bin[len] = 0;
    *strrchr(bin, '/') = 0;
    if (r->dir == NULL)
        r->dir = default_dir(r->file);
    return plan_read(&r->plan, r->file, bin, r->dir);
}

/* The directory is for one run at a time and for one user. */
static int take_dir(struct run *r)
{
    if (file_make_dirs(r->dir) < 0)
        return -1;
    if (chmod(r->dir, 0700) < 0)
        return err_sys("%s", r->dir);
    r->lock = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return file_lock(r->lock, r->dir, "another run is at work there");
}

/* How far the store is: 0 where there is none yet. It must be this run's. */
static int read_cursor(const struct plan *plan, uint64_t *cursor)
{
    struct store *s;
    char *meta = xasprintf("%s/meta.json", plan->store);
    bool made = access(meta, F_OK) == 0;
    free(meta);
    *cursor = 0;
    if (!made)
        return 0;
    if (store_open_read(&s, plan->store) < 0)
        return -1;
    const char *run = store_run(s);
    *cursor = store_cursor(s);
    int rc = 0;
    if (*cursor > 0 && (run == NULL || strcmp(run, plan->run) != 0))
        rc = err_set(ERR_DATA,
                     "%s: its %" PRIu64 " records are of another run: the pipeline, or a file that it names, is not "
                     "what it was. Name another store, or remove this one to begin anew",
                     plan->store, *cursor);
    store_close(&s);
    return rc;
}

static void show_progress(struct run *r, double now)
{
    const struct children *c = &r->children;
    struct buf answer = {0};
    unsigned restarts = 0;
    for (size_t i = 0; i < c->count; i++)
        restarts += c->list[i].restarts;
    metrics_ask(c->list[c->count - 1].metrics, &answer);
    uint64_t expected = metrics_value(&answer, "input_expected_records");
    buf_free(&answer);
    if (expected > 0)
        r->expected = expected;
    double rate = (double)(c->stored - r->first) / (now - r->start);
    if (rate > 0 && r->expected >= c->stored) {
        unsigned long left = (unsigned long)((double)(r->expected - c->stored) / rate);
        log_progress("%" PRIu64 " stored, %.*f/s, %.0f%%, %lu:%02lu left, %zu programs, %u restarts", c->stored,
                     rate < 10 ? 2 : 0, rate, 100.0 * (double)c->stored / (double)r->expected, left / 60, left % 60,
                     c->count, restarts);
    } else {
        log_progress("%" PRIu64 " stored, %zu programs, %u restarts", c->stored, c->count, restarts);
    }
}

/* Looks at the store now and then; one that is just being written may not be readable for a moment. */
static void look(struct run *r, double now)
{
    uint64_t cursor;
    if (now - r->looked < LOOK_SECONDS)
        return;
    r->looked = now;
    if (read_cursor(&r->plan, &cursor) == 0)
        children_note_stored(&r->children, cursor);
    if (isatty(STDERR_FILENO))
        show_progress(r, now);
}

/* Ends the programs: gently, then by force. */
static void stop(struct run *r)
{
    static const int signals[] = {SIGTERM, SIGKILL};
    r->children.stopping = true;
    for (size_t i = 0; i < 2 && children_running(&r->children); i++) {
        children_signal(&r->children, signals[i]);
        for (double until = clock_now() + END_SECONDS; clock_now() < until && children_running(&r->children);) {
            children_tend(&r->children, clock_now());
            usleep(TICK_US);
        }
    }
}

static int supervise(struct run *r)
{
    double end = 0;
    while (!stage_stopping()) {
        double now = clock_now();
        if (children_tend(&r->children, now) < 0)
            return -1;
        if (children_done(&r->children) && end == 0)
            end = now + END_SECONDS;
        if (end > 0 && (now > end || !children_running(&r->children)))
            return 0;
        look(r, now);
        usleep(TICK_US);
    }
    return 0;
}

/* What went in and what became of it, from one reading of the store. */
static int print_accounting(const struct run *r)
{
    struct store_report s;
    if (store_verify(r->plan.store, &s) < 0)
        return -1;
    unsigned long seconds = (unsigned long)(clock_now() - r->start);
    log_info("done in %lu:%02lu: %" PRIu64 " records stored, %" PRIu64 " of them in this run", seconds / 60,
             seconds % 60, s.cursor, s.cursor - r->first);
    printf("%-20s %8s %8s\n", "stage", "copies", "restarts");
    for (size_t i = 0; i < r->plan.count; i++) {
        unsigned restarts = 0;
        for (size_t j = 0; j < r->children.count; j++)
            restarts += r->children.list[j].step == i ? r->children.list[j].restarts : 0;
        printf("%-20s %8u %8u\n", r->plan.steps[i].name, r->plan.steps[i].copies, restarts);
    }
    printf("\n%-20s %17" PRIu64 "\n%-20s %17" PRIu64 "\n%-20s %17" PRIu64 "\n", "inputs", s.cursor, "kept", s.kept,
           "rejected", s.rejects);
    for (uint32_t i = 0; i < s.rule_count; i++)
        printf("  %-18s %17" PRIu64 "\n", s.rules[i].name, s.rules[i].count);
    if (s.problem_count > 0)
        return err_set(ERR_DATA, "%s: damaged: %s", r->plan.store, s.problems[0]);
    if (s.kept + s.rejects != s.cursor)
        return err_set(ERR_BUG, "%s: %" PRIu64 " inputs, but %" PRIu64 " records", r->plan.store, s.cursor,
                       s.kept + s.rejects);
    return 0;
}

/* A script for a shell: all in the background, until the last has ended. */
static void print_commands(const struct run *r)
{
    printf("mkdir -p -m 700 ");
    plan_print_word(r->dir);
    putchar('\n');
    children_print(&r->children);
    puts("wait");
}

static int work(struct run *r)
{
    if (read_plan(r) < 0 || read_cursor(&r->plan, &r->first) < 0)
        return -1;
    if (children_open(&r->children, &r->plan) < 0)
        return -1;
    children_note_stored(&r->children, r->first);
    if (r->dry_run) {
        print_commands(r);
        return 0;
    }
    if (take_dir(r) < 0)
        return -1;
    if (r->first > 0)
        log_info("going on behind the %" PRIu64 " records that are stored", r->first);
    int rc = supervise(r);
    r->finished = rc == 0 && children_done(&r->children);
    stop(r);
    return rc < 0 || !r->finished ? rc : print_accounting(r);
}

int main(int argc, char **argv)
{
    const struct argp argp = {
        .options = options, .parser = parse, .args_doc = "FILE.pipe", .doc = "Runs a pipeline on this host."};
    struct run r = {.lock = -1};
    argp_program_version = "atelier-run " ATELIER_VERSION;
    argp_err_exit_status = ERR_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &r) != 0)
        mem_gone(0);
    log_open("run", r.json_log);
    stage_catch_signals();
    r.start = clock_now();
    int rc = work(&r), code = rc < 0 ? err_code() : 0;
    if (rc < 0) {
        log_error("%s", err_text());
    } else if (!r.dry_run && !r.finished) {
        log_info("stopped by a signal: the same command goes on from here");
        code = 128 + stage_stop_signal();
    }
    if (r.lock >= 0)
        close(r.lock);
    children_free(&r.children);
    plan_free(&r.plan);
    free(r.dir);
    return code;
}
