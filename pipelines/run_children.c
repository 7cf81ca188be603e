/*
 * The processes of a run (run_children.h). They die with this one, whatever ends it.
 */
#include "pipelines/run_children.h"
#include "common/err.h"
#include "common/log.h"
#include "common/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define BACKOFF_SECONDS 0.1 /* doubled with each failure */
#define BACKOFF_MAX_SECONDS 5.0
#define GOOD_SECONDS 30.0 /* who ran so long may fail again */
#define MAX_FAILURES 6
#define END_SECONDS 8.0 /* for the end to go through all programs */
#define MAX_CRASHES 40  /* of a stage: a record that kills it does so five times, and several may be on their way */

int children_open(struct children *c, const struct plan *plan)
{
    const size_t most = sizeof((struct sockaddr_un *)0)->sun_path - 1;
    *c = (struct children){.plan = plan};
    for (size_t i = 0; i < plan->count; i++)
        c->count += plan->steps[i].copies;
    c->list = xcalloc(c->count, sizeof *c->list);
    size_t n = 0;
    /* From the store upwards: whoever starts finds the next one there. */
    for (size_t i = plan->count; i-- > 0;)
        for (unsigned copy = 0; copy < plan->steps[i].copies; copy++)
            c->list[n++] =
                (struct child){.step = i,
                               .copy = copy,
                               .log = xasprintf("%s/%zu-%s.%u.log", plan->dir, i, plan->steps[i].name, copy),
                               .metrics = xasprintf("%s/%zu-%s.%u.metrics", plan->dir, i, plan->steps[i].name, copy)};
    for (size_t i = 0; i < n; i++)
        if (strlen(c->list[i].metrics) > most)
            return err_set(ERR_USAGE, "%s: a socket's path has at most %zu bytes; give a shorter directory with --dir",
                           c->list[i].metrics, most);
    return 0;
}

void children_free(struct children *c)
{
    for (size_t i = 0; i < c->count; i++) {
        free(c->list[i].log);
        free(c->list[i].metrics);
    }
    free(c->list);
    *c = (struct children){0};
}

static _Noreturn void become(char **argv, const char *log, pid_t parent)
{
    int said = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600), none = open("/dev/null", O_RDWR | O_CLOEXEC);
    /* A group of its own: an interrupt at the terminal is for the run, which ends it in order. */
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || said < 0 || none < 0 || dup2(none, 0) < 0 || dup2(none, 1) < 0 || dup2(said, 2) < 0)
        _exit(ERR_IO);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    execv(argv[0], argv);
    dprintf(2, "%s: %s\n", argv[0], strerror(errno));
    _exit(ERR_USAGE);
}

/* Its step's command, with what belongs to this copy; the source begins behind what is stored. */
static char **argv_of(const struct children *c, const struct child *child)
{
    char from[24];
    snprintf(from, sizeof from, "%" PRIu64, c->stored);
    bool skips = child->step == 0 && c->stored > 0;
    const char *const more[] = {"--metrics", child->metrics, skips ? "--from" : NULL, from, NULL};
    return plan_argv(&c->plan->steps[child->step], more);
}

void children_print(const struct children *c)
{
    for (size_t i = 0; i < c->count; i++) {
        char **argv = argv_of(c, &c->list[i]);
        plan_print(argv);
        plan_argv_free(argv);
    }
}

static int start(struct children *c, struct child *child, double now)
{
    char **argv = argv_of(c, child);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        become(argv, child->log, parent);
    plan_argv_free(argv);
    if (pid < 0)
        return err_sys("cannot start %s", c->plan->steps[child->step].name);
    child->pid = pid;
    child->done = false;
    child->started = now;
    return 0;
}

/* The last line that it said, for the message about its end; argp's hint at --help, behind a usage error, is no news.
 */
static char *last_words(const struct child *child)
{
    struct buf text = {0};
    if (file_read(child->log, (size_t)64 << 20, &text) < 0)
        return xstrdup(child->log);
    char *at = buf_string(&text), *line;
    do {
        char *end = at + strlen(at);
        while (end > at && end[-1] == '\n')
            *--end = 0;
        line = strrchr(at, '\n');
        if (line)
            *line++ = 0;
    } while (line && strncmp(line, "Try `", 5) == 0);
    char *words = xstrdup(line ? line : at);
    buf_free(&text);
    return words;
}

static char *describe_end(int status)
{
    return WIFSIGNALED(status) ? xasprintf("signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)))
                               : xasprintf("code %d", WEXITSTATUS(status));
}

static int exit_code(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : ERR_AGAIN;
}

/* Neither the source nor the store: one that records can kill. */
static bool is_worker(const struct children *c, const struct child *child)
{
    return child->step > 0 && child->step + 1 < c->plan->count;
}

/* Decides what becomes of one that failed. */
static int plan_restart(const struct children *c, struct child *child, double now)
{
    const char *name = c->plan->steps[child->step].name;
    int code = exit_code(child->status);
    child->failures = now - child->started > GOOD_SECONDS ? 1 : child->failures + 1;
    char *end = describe_end(child->status), *words = last_words(child);
    int rc = 0;
    if (code == ERR_USAGE || code == ERR_DATA ||
        child->failures > (is_worker(c, child) && code == ERR_AGAIN ? MAX_CRASHES : MAX_FAILURES)) {
        rc = err_set(code, "%s %u ended with %s%s: %s", name, child->copy, end,
                     child->failures > 1 ? " again and again" : "", words);
    } else {
        double wait = BACKOFF_SECONDS;
        for (unsigned i = 1; i < child->failures && wait < BACKOFF_MAX_SECONDS; i++)
            wait *= 2;
        child->next = now + (wait < BACKOFF_MAX_SECONDS ? wait : BACKOFF_MAX_SECONDS);
        child->restarts++;
        log_warn("%s %u ended with %s, is started again: %s", name, child->copy, end, words);
    }
    free(end);
    free(words);
    return rc;
}

/* One that was told to end by someone else ends well, too: the end of the run is that of its source and its store, and
 * until then all are needed. */
static int note_end(struct children *c, struct child *child, double now)
{
    child->pid = 0;
    child->done = WIFEXITED(child->status) && WEXITSTATUS(child->status) == 0;
    child->next = now + END_SECONDS;
    return child->done || c->stopping || children_done(c) ? 0 : plan_restart(c, child, now);
}

int children_tend(struct children *c, double now)
{
    int rc = 0;
    for (size_t i = 0; i < c->count && rc == 0; i++) {
        struct child *child = &c->list[i];
        if (child->pid > 0 && waitpid(child->pid, &child->status, WNOHANG) == child->pid)
            rc = note_end(c, child, now);
        else if (child->pid == 0 && !c->stopping && !children_done(c) && now >= child->next)
            rc = start(c, child, now);
    }
    return rc;
}

void children_note_stored(struct children *c, uint64_t cursor)
{
    for (size_t i = 0; cursor > c->stored && i < c->count; i++)
        if (is_worker(c, &c->list[i]))
            c->list[i].failures = 0;
    c->stored = cursor;
}

bool children_running(const struct children *c)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->list[i].pid > 0)
            return true;
    return false;
}

bool children_done(const struct children *c)
{
    return c->list[0].done && c->list[c->count - 1].done;
}

void children_signal(struct children *c, int number)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->list[i].pid > 0)
            kill(c->list[i].pid, number);
}
