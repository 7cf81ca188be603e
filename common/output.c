/*
 * Buffered writing to a file or stdout (output.h).
 */
#include "common/output.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_BYTES (256u << 10)
#define FLUSH_SECONDS 0.1

struct output {
    int fd;
    char *name, *part; /* part: NULL when written in place */
    double flushed;
    struct buf pending;
};

int output_open(struct output **out, const char *path)
{
    bool to_stdout = strcmp(path, "-") == 0;
    char *part = to_stdout || file_in_place(path) ? NULL : xasprintf("%s.part", path);
    const char *opened = part ? part : path;
    int fd = to_stdout ? STDOUT_FILENO : open(opened, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        err_sys("%s", opened);
        free(part);
        return -1;
    }
    *out = xcalloc(1, sizeof **out);
    **out =
        (struct output){.fd = fd, .name = xstrdup(to_stdout ? "stdout" : path), .part = part, .flushed = clock_now()};
    return 0;
}

const char *output_name(const struct output *out)
{
    return out->name;
}

static int write_all(struct output *out, const unsigned char *data, size_t len)
{
    while (len > 0) {
        ssize_t put = write(out->fd, data, len);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0 && errno == EAGAIN) {
            struct pollfd wait = {.fd = out->fd, .events = POLLOUT};
            poll(&wait, 1, -1);
            continue;
        }
        if (put < 0)
            return err_sys("%s", out->name);
        data += put;
        len -= (size_t)put;
    }
    return 0;
}

static int flush(struct output *out)
{
    size_t len = out->pending.len;
    out->pending.len = 0; /* what could not be written is not tried again */
    int result = write_all(out, out->pending.data, len);
    out->flushed = clock_now();
    return result;
}

int output_write(struct output *out, const void *data, size_t len)
{
    if (out->pending.len + len > BUFFER_BYTES && flush(out) < 0)
        return -1;
    if (len > BUFFER_BYTES)
        return write_all(out, data, len);
    buf_append(&out->pending, data, len);
    return clock_now() - out->flushed > FLUSH_SECONDS ? flush(out) : 0;
}

int output_finish(struct output *out)
{
    if (flush(out) < 0)
        return -1;
    if (out->part == NULL)
        return 0;
    if (fsync(out->fd) < 0 || rename(out->part, out->name) < 0)
        return err_sys("%s", out->name);
    return file_sync_parent(out->name);
}

void output_close(struct output **out)
{
    struct output *o = *out;
    if (o == NULL)
        return;
    flush(o);
    if (o->fd != STDOUT_FILENO)
        close(o->fd);
    free(o->name);
    free(o->part);
    buf_free(&o->pending);
    free(o);
    *out = NULL;
}
