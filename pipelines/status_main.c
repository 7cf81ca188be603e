/*
 * atelier-status RUN: how a run stands: a line a program with its rate and what waits before and behind it, which of
 * them all wait for, and when it will be done. RUN is the directory of `atelier run` (FILE.run). Live on a terminal.
 */
#include "common/err.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/stage.h"
#include "common/stage_counts.h"
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define SUFFIX ".metrics"
#define MAX_ANSWER_BYTES ((size_t)1 << 20)
#define ANSWER_SECONDS 1
#define SAMPLE_US 1000000 /* between the two looks that make a rate */

/* What one program says of itself. */
struct sample {
    bool answered;
    uint64_t records, rejected, pending_in, pending_out, open_out, stored, done_permille;
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
    double seconds; /* between the samples */
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
        if (sscanf(entries[i]->d_name, "%u-%63s", &one->step, one->name) == 2) {
            one->name[strlen(one->name) - strlen(SUFFIX)] = 0;
            one->socket = xasprintf("%s/%s", run, entries[i]->d_name);
            p->count++;
        }
        free(entries[i]);
    }
    free(entries);
    return p->count ? 0 : err_set(ERR_USAGE, "%s: no program of a run is there; name the directory FILE.run", run);
}

/* The answer to GET /metrics; empty when there is none. */
static void ask(const char *path, struct buf *answer)
{
    static const char request[] = "GET /metrics HTTP/1.0\r\n\r\n";
    const struct timeval limit = {.tv_sec = ANSWER_SECONDS};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        send(fd, request, sizeof request - 1, MSG_NOSIGNAL) == sizeof request - 1) {
        ssize_t got = 1;
        while (got > 0 && answer->len < MAX_ANSWER_BYTES) {
            buf_reserve(answer, 4096);
            got = recv(fd, answer->data + answer->len, 4096, 0);
            answer->len += got > 0 ? (size_t)got : 0;
        }
    }
    close(fd);
}

static uint64_t value_of(const char *answer, const char *name)
{
    const char *line = strstr(answer, name);
    return line ? strtoull(line + strlen(name), NULL, 10) : 0;
}

static void take_sample(struct program *p)
{
    struct buf answer = {0};
    ask(p->socket, &answer);
    const char *text = buf_string(&answer);
    p->before = p->now;
    p->now = (struct sample){
        .answered = answer.len > 0,
        .records = value_of(text, "\natelier_records_total "),
        .rejected = value_of(text, "\natelier_rejected_total "),
        .pending_in = value_of(text, "\natelier_link_pending_records{end=\"in\"} "),
        .pending_out = value_of(text, "\natelier_link_pending_records{end=\"out\"} "),
        .open_out = value_of(text, "\natelier_link_open_records{end=\"out\"} "),
        .stored = value_of(text, "\natelier_store_committed_total "),
        .done_permille = value_of(text, "\natelier_input_done_permille "),
    };
    if (p->now.records == 0) /* a queue counts what its link brought */
        p->now.records = value_of(text, "\natelier_link_records_total{end=\"in\"} ");
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

static double rate_of(const struct program *p, uint64_t now, uint64_t before, double seconds)
{
    return p->before.answered && now > before && seconds > 0 ? (double)(now - before) / seconds : 0;
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
               rate_of(one, one->now.records, one->before.records, p->seconds), one->now.rejected,
               one->now.pending_in + one->now.pending_out, one->now.open_out,
               bottleneck && one->step == bottleneck ? "  <- the others wait for it" : "");
    }
    double rate = rate_of(store, store->now.stored, store->before.stored, p->seconds);
    printf("\n%" PRIu64 " stored, %.0f a second", store->now.stored, rate);
    if (rate > 0 && source->now.done_permille > 0) {
        double total = (double)source->now.records * 1000 / (double)source->now.done_permille;
        long left = total > (double)store->now.stored ? (long)((total - (double)store->now.stored) / rate) : 0;
        printf(", about %.0f in all, %ld:%02ld left", total, left / 60, left % 60);
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
    double last = 0;
    for (int looks = 0; !stage_stopping() && (live || looks < 2); looks++) {
        double now = stage_clock();
        for (size_t i = 0; i < p.count; i++)
            take_sample(&p.list[i]);
        p.seconds = now - last;
        last = now;
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
