/*
 * Messages on stderr and the progress line (log.h).
 */
#include "common/log.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/utf8.h"
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.2

static const char *program;
static bool json, on_terminal, errors_only, progress_shown;
static double progress_time;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void log_open(const char *name, bool as_json)
{
    program = name;
    json = as_json;
    on_terminal = !json && !errors_only && isatty(STDERR_FILENO);
}

void log_errors_only(void)
{
    errors_only = true;
}

static void append_json(struct buf *line, const char *level, const char *message, size_t len)
{
    struct timespec now;
    struct tm utc;
    char day[32], stamp[48];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(stamp, sizeof stamp, "%s.%03ldZ", day, now.tv_nsec / 1000000);

    struct buf valid = {0};
    utf8_append_valid(&valid, message, len);
    json_t *object =
        json_pack("{ss ss ss ss}", "time", stamp, "level", level, "program", program, "message", buf_string(&valid));
    char *text = json_dumps(object, JSON_COMPACT);
    buf_printf(line, "%s\n", text);
    free(text);
    json_decref(object);
    buf_free(&valid);
}

static void say(const char *level, const char *mark, const char *format, va_list args)
{
    int error = errno; /* a message must not disturb the caller's error handling */
    char *message;
    int len = vasprintf(&message, format, args);
    if (len < 0)
        mem_gone(0);
    if (program == NULL)
        program = program_invocation_short_name;
    struct buf line = {0};
    if (json)
        append_json(&line, level, message, (size_t)len);
    else
        buf_printf(&line, "%s: %s%s\n", program, mark, message);
    pthread_mutex_lock(&lock);
    if (progress_shown)
        fputs("\r\033[K", stderr);
    progress_shown = false;
    progress_time = 0;
    fwrite(line.data, 1, line.len, stderr);
    fflush(stderr);
    pthread_mutex_unlock(&lock);
    buf_free(&line);
    free(message);
    errno = error;
}

void log_info(const char *format, ...)
{
    if (errors_only)
        return;
    va_list args;
    va_start(args, format);
    say("info", "", format, args);
    va_end(args);
}

void log_warn(const char *format, ...)
{
    if (errors_only)
        return;
    va_list args;
    va_start(args, format);
    say("warning", "warning: ", format, args);
    va_end(args);
}

void log_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say("error", "error: ", format, args);
    va_end(args);
}

void log_progress(const char *format, ...)
{
    if (!on_terminal)
        return;
    pthread_mutex_lock(&lock);
    double now = clock_now();
    if (now - progress_time >= REDRAW_SECONDS) {
        struct winsize size = {0};
        char line[512];
        va_list args;
        va_start(args, format);
        int used = vsnprintf(line, sizeof line, format, args);
        va_end(args);
        /* A line that wraps could not be wiped. */
        bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
        int columns = known ? size.ws_col - 1 : 79;
        fprintf(stderr, "\r\033[K%.*s", used < columns ? used : columns, line);
        fflush(stderr);
        progress_shown = true;
        progress_time = now;
    }
    pthread_mutex_unlock(&lock);
}
