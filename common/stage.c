/*
 * The skeleton of stages (stage.h): endpoints, the loop, signals, progress, statistics, rejects, the end.
 */
#include "common/stage.h"
#include "common/clock.h"
#include "common/endpoint.h"
#include "common/err.h"
#include "common/log.h"
#include "common/monitor.h"
#include "common/output.h"
#include "common/stage_counts.h"
#include "common/stage_options.h"
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t stop_signal;
static unsigned record_timeout; /* seconds that a record may take; 0: any time */

/* What the metrics' thread is shown. */
struct view {
    uint64_t records, kept, rejected, rejected_upstream;
    uint64_t expected; /* records of the whole input; 0: unknown */
    struct source *source;
    struct sink *sink;
};

struct stage_output {
    const char *uri; /* --out; NULL: nothing is written */
    struct source *source;
    struct sink *sink;      /* NULL: a run that writes nothing */
    struct output *rejects; /* NULL: not asked for */
    struct stage_counts counts;
    bool sink_failed;        /* not the stage or its record */
    bool dry;                /* --dry-run */
    struct monitor *monitor; /* NULL: not asked for */
    pthread_mutex_t lock;    /* of `view` */
    struct view view;
};

static void on_signal(int number)
{
    stop_signal = number;
}

bool stage_stopping(void)
{
    return stop_signal != 0;
}

bool stage_tick(void)
{
    alarm(record_timeout);
    return stage_stopping();
}

int stage_stop_signal(void)
{
    return stop_signal;
}

void stage_settle(char **argv)
{
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    if (len < 0 || getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT"))
        return;
    self[len] = 0;
    if (setenv("OMP_WAIT_POLICY", "passive", 0) != 0 || setenv("GOMP_SPINCOUNT", "20000", 0) != 0)
        mem_gone(0);
    execv(self, argv);
}

void stage_catch_signals(void)
{
    /* Once: a second signal ends a program that does not come to its end. No SA_RESTART: waits are to end. */
    struct sigaction stop = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGUSR1, &stop, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static int write_reject(struct stage_output *out, const struct record *r)
{
    static const enum field shown[] = {FIELD_ID, FIELD_KEY, FIELD_CAPTION, FIELD_REJECT};
    struct record view = *r; /* the buffers stay r's */
    struct buf line = {0};
    view.present = 0;
    view.unknown_count = 0;
    view.unknown.len = 0;
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        view.present |= r->present & 1u << shown[i];
    record_to_json(&view, &line);
    buf_append(&line, "\n", 1);
    int result = output_write(out->rejects, line.data, line.len);
    buf_free(&line);
    return result;
}

/* Limits what a record may take; 0 lifts it. Without a limit, no system calls for each record. */
static void limit_time(unsigned seconds)
{
    if (record_timeout > 0)
        alarm(seconds);
}

static int put(struct stage_output *out, const struct record *r)
{
    if (out->sink == NULL)
        return 0;
    limit_time(0); /* waiting for the next program is no hanging */
    out->sink_failed = sink_put(out->sink, r) < 0;
    limit_time(record_timeout);
    return out->sink_failed ? -1 : 0;
}

int stage_emit(struct stage_output *out, const struct record *r)
{
    struct stage_counts *c = &out->counts;
    if (!record_has(r, FIELD_REJECT)) {
        c->kept++;
    } else {
        const void *colon = memchr(r->reject.data, ':', r->reject.len);
        size_t rule = colon ? (size_t)((const unsigned char *)colon - r->reject.data) : r->reject.len;
        tally_add(&c->rules, (const char *)r->reject.data, rule, 1);
        c->rejected++;
        if (out->rejects != NULL && write_reject(out, r) < 0)
            return -1;
    }
    return put(out, r);
}

int stage_emit_passed(struct stage_output *out, const struct record *r)
{
    if (source_is_foreign(out->source)) /* no stage before has counted it */
        return stage_emit(out, r);
    out->counts.rejected_upstream++;
    return put(out, r);
}

int stage_mark(struct stage_output *out, uint64_t ticket)
{
    if (out->sink == NULL) {
        source_acknowledge(out->source, ticket);
        return 0;
    }
    limit_time(0);
    out->sink_failed = sink_mark(out->sink, ticket) < 0;
    limit_time(record_timeout);
    return out->sink_failed ? -1 : 0;
}

const char *stage_output_uri(const struct stage_output *out)
{
    return out->uri;
}

bool stage_is_dry(const struct stage_output *out)
{
    return out->dry;
}

uint64_t stage_done(const struct stage_output *out)
{
    return out->sink ? sink_done(out->sink) : 0;
}

void stage_count(struct stage_output *out, const char *name, uint64_t n)
{
    tally_add(&out->counts.named, name, strlen(name), n);
}

static void show_progress(const struct stage_counts *c, const struct source *source)
{
    double seconds = clock_now() - c->start, done = source_fraction(source);
    double rate = seconds > 0 ? (double)c->records / seconds : 0;
    uint64_t rejected = c->rejected + c->rejected_upstream;
    if (done > 0) {
        unsigned long left = (unsigned long)(seconds * (1 - done) / done + 0.5);
        log_progress("%" PRIu64 " records, %" PRIu64 " rejected, %.*f/s, %.0f%%, %lu:%02lu left", c->records, rejected,
                     rate < 10 ? 2 : 0, rate, 100 * done, left / 60, left % 60);
    } else {
        log_progress("%" PRIu64 " records, %" PRIu64 " rejected, %.*f/s", c->records, rejected, rate < 10 ? 2 : 0,
                     rate);
    }
}

enum end {
    END_INPUT,  /* all records were processed */
    END_SIGNAL, /* told to stop */
    END_SOURCE, /* the input failed: what came before it stands */
    END_FAILED, /* a record could not be processed or written */
};

/* A record takes too long: whoever feeds the link gives it to another, or finds that it hangs them all. */
static void on_timeout(int number)
{
    static const char text[] = "a record took longer than --record-timeout: giving up\n";
    (void)number;
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
        _exit(ERR_IO);
    _exit(ERR_AGAIN);
}

/* What the stage holds back goes out. */
static int flush(const struct stage *stage, void *self, struct stage_output *out)
{
    if (!stage->flush)
        return 0;
    limit_time(record_timeout);
    int rc = stage->flush(self, out);
    limit_time(0);
    return rc;
}

static int process(const struct stage *stage, void *self, struct record *r, struct stage_output *out)
{
    int rc;
    out->counts.records++;
    limit_time(record_timeout);
    if (!record_has(r, FIELD_REJECT))
        rc = stage->process(self, r, out);
    else
        rc = stage->pass ? stage->pass(self, r, out) : stage_emit_passed(out, r);
    limit_time(0);
    if (rc == 0 || out->sink_failed || !source_has_batches(out->source))
        return rc;
    /* Bad data is bad everywhere, and this program is as good as before; any other failure may be its own. */
    bool permanent = err_code() == ERR_DATA;
    source_fail(out->source, permanent, err_text());
    return permanent ? 0 : -1;
}

/* The end of a link's batch, which is acknowledged as a whole. */
static int end_batch(const struct stage *stage, void *self, struct stage_output *out)
{
    if (stage->finish && stage->finish(self, out) < 0)
        return -1;
    uint64_t ticket = source_pass(out->source);
    limit_time(record_timeout);
    int rc = stage->mark ? stage->mark(self, ticket, out) : stage_mark(out, ticket);
    limit_time(0);
    return rc;
}

static int take_event(const struct stage *stage, void *self, struct stage_output *out, int event, struct record *r)
{
    switch (event) {
    case SOURCE_BATCH:
        return end_batch(stage, self, out);
    case SOURCE_IDLE:
        if (flush(stage, self, out) < 0)
            return -1;
        return out->sink ? sink_sync(out->sink) : 0;
    default:
        return process(stage, self, r, out);
    }
}

/* A wait that a signal ended reports an error that is none. */
static bool was_interrupted(void)
{
    return stage_stopping() && err_code() == ERR_AGAIN;
}

/* Where the metrics' thread may look, which must not see a source change files. */
static void show_metrics(struct stage_output *out)
{
    const struct stage_counts *c = &out->counts;
    if (out->monitor == NULL)
        return;
    double done = source_fraction(out->source);
    uint64_t expected = done > 0 ? (uint64_t)((double)source_total(out->source, c->records) / done) : 0;
    pthread_mutex_lock(&out->lock);
    out->view = (struct view){c->records, c->kept, c->rejected, c->rejected_upstream, expected, out->source, out->sink};
    pthread_mutex_unlock(&out->lock);
}

static enum end loop(const struct stage *stage, void *self, struct stage_output *out, bool progress)
{
    struct record r = {0};
    enum end end = END_SIGNAL;
    while (!stage_stopping()) {
        int event = source_next(out->source, &r);
        if (event == SOURCE_END || event < 0) {
            end = event == SOURCE_END ? END_INPUT : was_interrupted() ? END_SIGNAL : END_SOURCE;
            break;
        }
        if (take_event(stage, self, out, event, &r) < 0) {
            end = was_interrupted() ? END_SIGNAL : END_FAILED;
            break;
        }
        if (progress)
            show_progress(&out->counts, out->source);
        show_metrics(out);
    }
    record_free(&r);
    return end != END_FAILED && flush(stage, self, out) < 0 ? END_FAILED : end;
}

/* Brings the output to the state that the end of the loop allows. */
static enum end finish(const struct stage *stage, void *self, struct stage_output *out, enum end end)
{
    if (end == END_INPUT) {
        if (stage->finish && stage->finish(self, out) < 0)
            return END_FAILED;
        show_metrics(out);
        if (out->sink)
            sink_total(out->sink, source_total(out->source, out->counts.records));
        int rc = out->sink ? sink_finish(out->sink) : 0;
        if (rc == 0 && source_has_batches(out->source))
            source_confirm_end(out->source);
        return rc < 0 ? END_FAILED : end;
    }
    if (source_has_batches(out->source))
        source_leave(out->source); /* others begin at once with what was not begun here */
    if (end == END_FAILED || out->sink == NULL || !sink_is_durable(out->sink))
        return end;
    if (end == END_SOURCE)
        log_error("%s", err_text()); /* before another error takes its place */
    int code = err_code();
    if (sink_stop(out->sink) < 0)
        return END_FAILED;
    if (end == END_SOURCE)
        err_set(code, "what came before was written");
    return end;
}

/* Called by the metrics' thread. */
static void print_metrics(void *self, struct buf *out)
{
    struct stage_output *o = self;
    pthread_mutex_lock(&o->lock);
    struct view v = o->view;
    pthread_mutex_unlock(&o->lock);
    monitor_add(out, "records_total", "", v.records);
    monitor_add(out, "kept_total", "", v.kept);
    monitor_add(out, "rejected_total", "", v.rejected);
    monitor_add(out, "rejected_upstream_total", "", v.rejected_upstream);
    if (v.expected > 0)
        monitor_add(out, "input_expected_records", "", v.expected);
    if (v.source)
        source_print(v.source, out);
    if (v.sink)
        sink_print(v.sink, out);
}

/* All that is wrong with the ends by themselves is said before anything is made. What comes over a link is acknowledged
 * when it is stored; not every output can say when that is. */
static int check_ends(const struct stage *stage, bool reads_only, const struct stage_output *out)
{
    bool linked = source_has_batches(out->source), marks;
    if (linked && reads_only)
        return err_set(ERR_USAGE, "%s reads all of its input before it has a result: give it no link as --in",
                       stage->name);
    if (out->uri && sink_check(out->uri, &marks) < 0)
        return -1;
    if (linked && out->uri && !marks)
        return err_set(ERR_USAGE,
                       "--out %s: what comes over a link is acknowledged when it is stored, so --out is to be "
                       "lmdb:PATH or another link",
                       out->uri);
    return 0;
}

static int open_outputs(const struct stage_options *o, struct stage_output *out)
{
    struct sink_options to = {.keep_rejects = o->keep_rejects, .run = o->run, .link = o->link};
    if (source_has_batches(out->source)) {
        to.stored = source_acknowledge;
        to.is_forsaken = source_is_forsaken;
        to.context = out->source;
        record_timeout = o->record_timeout;
    }
    return (out->uri && sink_open(&out->sink, out->uri, &to) < 0) ||
                   (o->rejects && output_open(&out->rejects, o->rejects) < 0)
               ? -1
               : 0;
}

static enum end run(const struct stage *stage, void *self, const struct stage_options *o, struct stage_output *out)
{
    enum end end = END_FAILED;
    const struct source_options from = {.from = o->from, .run = o->run, .link = o->link};
    const struct monitor_view view = {print_metrics, out};
    bool reads_only = stage->reads_only && stage->reads_only(self);
    out->dry = o->dry_run;
    out->uri = o->dry_run || reads_only ? NULL : o->out;
    /* Outputs are made last: whatever is wrong with the options leaves no trace. */
    if (source_open(&out->source, o->in, &from) == 0 && check_ends(stage, reads_only, out) == 0 &&
        (o->metrics == NULL || monitor_open(&out->monitor, o->metrics, o->link.insecure, &view) == 0) &&
        (stage->start == NULL || stage->start(self, out) == 0) && open_outputs(o, out) == 0) {
        out->counts.start = clock_now();
        signal(SIGALRM, on_timeout);
        show_metrics(out);
        if (out->monitor)
            monitor_set_ready(out->monitor);
        /* In a pipe the last program alone shows progress: all would write over each other. */
        end = loop(stage, self, out, out->uri == NULL || strcmp(out->uri, "-") != 0);
        end = finish(stage, self, out, end);
    }
    monitor_close(&out->monitor);
    return end;
}

/* The exit code; says what there is to say. */
static int conclude(const struct stage_options *o, const struct stage_output *out, enum end end)
{
    const struct stage_counts *c = &out->counts;
    if (end == END_SOURCE || end == END_FAILED) {
        if (err_code() != ERR_PIPE)
            log_error("%s", err_text());
        return err_code() ? err_code() : ERR_BUG;
    }
    struct buf line = {0};
    stage_counts_print(c, &line);
    log_info("%s%s", end == END_SIGNAL ? "stopped by a signal: " : "", buf_string(&line));
    buf_free(&line);
    if (end == END_SIGNAL)
        return stop_signal != SIGINT && out->sink && sink_is_durable(out->sink) ? 0 : 128 + stop_signal;
    double rejected = (double)c->rejected;
    if (o->max_rejects_percent)
        rejected = c->records > 0 ? 100 * rejected / (double)c->records : 0;
    if (o->max_rejects >= 0 && rejected > o->max_rejects) {
        const char *unit = o->max_rejects_percent ? "%" : "";
        log_error("%.4g%s of the records were rejected, more than --max-rejects %.10g%s", rejected, unit,
                  o->max_rejects, unit);
        return ERR_DATA;
    }
    return 0;
}

int stage_main(const struct stage *stage, void *self, int argc, char **argv)
{
    struct stage_options o = {0};
    struct stage_output out = {.counts.start = clock_now(), .lock = PTHREAD_MUTEX_INITIALIZER};
    stage_settle(argv);
    stage_options_parse(stage, self, argc, argv, &o);
    log_open(stage->name, o.json_log);
    stage_catch_signals();
    enum end end = run(stage, self, &o, &out);
    int code = conclude(&o, &out, end);
    bool failed = end == END_SOURCE || end == END_FAILED;
    if (o.stats &&
        stage_counts_write(&out.counts, o.stats, stage->name, end == END_INPUT, failed ? err_text() : NULL) < 0) {
        log_error("%s", err_text());
        code = code ? code : err_code();
    }
    if (out.rejects && output_finish(out.rejects) < 0) {
        log_error("%s", err_text());
        code = code ? code : err_code();
    }
    output_close(&out.rejects);
    sink_close(&out.sink);
    source_close(&out.source); /* which the sink tells what is stored, until it is closed */
    if (stage->close)
        stage->close(self);
    stage_counts_free(&out.counts);
    return code;
}
