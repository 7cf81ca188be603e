/*
 * atelier-status RUN: how a run stands: a line a program with its rate and what waits before and behind it, which of
 * them all wait for, and when it will be done. RUN is the directory of `atelier run` (FILE.run). Live on a terminal.
 */
#include "common/clock.h"
#include "common/err.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/stage.h"
#include "common/stage_counts.h"
#include "pipelines/metrics.h"
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SUFFIX ".metrics"
#define SAMPLE_US 1000000 /* between the two looks that make a rate */
#define SMOOTHING 0.2     /* share of the newest second */

/* What one program says of itself. */
struct sample {
    bool answered;
    uint64_t records, rejected, pending_in, pending_out, open_out, stored, expected;
};

struct program {
    char *socket;
    unsigned step;
    char name[64]; /* "tokenize.1" */
    struct sample before, now;
};

struct programs {
    struct program *list;
    size_t count;
    double looked, seconds; /* when, and since the look before */
    double rate;            /* records stored a second, smoothed: commits come in lumps */
};

static int is_socket(const struct dirent *e)
{
    size_t len = strlen(e->d_name);
    return len > strlen(SUFFIX) && strcmp(e->d_name + len - strlen(SUFFIX), SUFFIX) == 0;
}

static int find_programs(struct programs *p, const char *run)
{
    struct dirent **entries;
    int n = scandir(run, &entries, is_socket, versionsort);
    if (n < 0)
        return err_sys("%s", run);
    p->list = xcalloc((size_t)n, sizeof *p->list);
    for (int i = 0; i < n; i++) {
        struct program *one = &p->list[p->count];
        char *name;
        one->step = (unsigned)strtoul(entries[i]->d_name, &name, 10);
        if (name > entries[i]->d_name && *name == '-') {
            snprintf(one->name, sizeof one->name, "%.*s", (int)(strlen(name + 1) - strlen(SUFFIX)), name + 1);
            one->socket = xasprintf("%s/%s", run, entries[i]->d_name);
            p->count++;
        }
        free(entries[i]);
    }
    free(entries);
    return p->count
               ? 0
               : err_set(ERR_AGAIN, "%s: no program of a run is at work there; name a run's directory, FILE.run", run);
}

static void take_sample(struct program *p)
{
    struct buf answer = {0};
    metrics_ask(p->socket, &answer);
    p->before = p->now;
    p->now = (struct sample){
        .answered = answer.len > 0,
        .records = metrics_value(&answer, "records_total"),
        .rejected = metrics_value(&answer, "rejected_total"),
        .pending_in = metrics_value(&answer, "link_pending_records{end=\"in\"}"),
        .pending_out = metrics_value(&answer, "link_pending_records{end=\"out\"}"),
        .open_out = metrics_value(&answer, "link_open_records{end=\"out\"}"),
        .stored = metrics_value(&answer, "store_committed_total"),
        .expected = metrics_value(&answer, "input_expected_records"),
    };
    if (p->now.records == 0) /* a queue counts what its link brought */
        p->now.records = metrics_value(&answer, "link_records_total{end=\"in\"}");
    buf_free(&answer);
}

/* The first step from the end on behind which nothing waits, while something waits before it; 0: none. */
static unsigned find_bottleneck(const struct programs *p)
{
    uint64_t waiting[1024] = {0};
    unsigned last = 0;
    for (size_t i = 0; i < p->count; i++) {
        const struct program *one = &p->list[i];
        if (one->step >= 1024)
            continue;
        waiting[one->step] += one->now.pending_out;
        last = one->step > last ? one->step : last;
    }
    for (unsigned step = last; step > 0; step--)
        if (waiting[step - 1] > waiting[step] + 64)
            return step;
    return 0;
}

static double rate_of(const struct programs *p, const struct program *one, uint64_t now, uint64_t before)
{
    return one->before.answered && now > before && p->seconds > 0 ? (double)(now - before) / p->seconds : 0;
}

/* Asks all; false when none answers. */
static bool look(struct programs *p)
{
    const struct program *store = &p->list[p->count - 1];
    double now = clock_now();
    bool answered = false;
    for (size_t i = 0; i < p->count; i++) {
        take_sample(&p->list[i]);
        answered = answered || p->list[i].now.answered;
    }
    p->seconds = now - p->looked;
    p->looked = now;
    double rate = rate_of(p, store, store->now.stored, store->before.stored);
    p->rate += (p->rate > 0 ? SMOOTHING : 1) * (rate - p->rate);
    return answered;
}

static void show(const struct programs *p)
{
    unsigned bottleneck = find_bottleneck(p);
    const struct program *source = &p->list[0], *store = &p->list[p->count - 1];
    printf("%-24s %12s %10s %10s %10s %10s\n", "program", "records", "a second", "rejects", "waiting", "on the way");
    for (size_t i = 0; i < p->count; i++) {
        const struct program *one = &p->list[i];
        if (!one->now.answered) {
            printf("%-24s %12s\n", one->name, "not running");
            continue;
        }
        printf("%-24s %12" PRIu64 " %10.0f %10" PRIu64 " %10" PRIu64 " %10" PRIu64 "%s\n", one->name, one->now.records,
               rate_of(p, one, one->now.records, one->before.records), one->now.rejected,
               one->now.pending_in + one->now.pending_out, one->now.open_out,
               bottleneck && one->step == bottleneck ? "  <- the others wait for it" : "");
    }
    printf("\n%" PRIu64 " stored, %.0f a second", store->now.stored, p->rate);
    if (p->rate >= 1 && source->now.expected > store->now.stored) {
        long left = (long)((double)(source->now.expected - store->now.stored) / p->rate);
        printf(", about %" PRIu64 " in all, %ld:%02ld left", source->now.expected, left / 60, left % 60);
    }
    printf("\n");
}

int main(int argc, char **argv)
{
    bool help = argc == 2 && strcmp(argv[1], "--help") == 0, live = isatty(STDOUT_FILENO);
    struct programs p = {0};
    if (argc != 2 || argv[1][0] == '-') {
        fputs("Usage: atelier-status RUN\nHow a run stands; RUN is its directory, FILE.run. Live on a terminal.\n",
              help ? stdout : stderr);
        return help ? 0 : ERR_USAGE;
    }
    log_open("status", false);
    stage_catch_signals();
    if (find_programs(&p, argv[1]) < 0) {
        log_error("%s", err_text());
        return err_code();
    }
    for (int looks = 0; !stage_stopping() && (live || looks < 2); looks++) {
        if (!look(&p)) {
            log_info("%s: nothing is at work there any more", argv[1]);
            break;
        }
        if (looks > 0) {
            if (live)
                printf("\033[H\033[J");
            show(&p);
            fflush(stdout);
        }
        if (live || looks == 0)
            usleep(SAMPLE_US);
    }
    for (size_t i = 0; i < p.count; i++)
        free(p.list[i].socket);
    free(p.list);
    return 0;
}
