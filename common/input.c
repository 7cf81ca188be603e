/*
 * Buffered reading of a file or stdin (input.h).
 */
#include "common/input.h"
#include "common/err.h"
#include "common/stage.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES (256u << 10)
#define WAIT_MS 500 /* a signal that comes just before the wait is seen after it */

struct input {
    int fd;
    char *name;
    uint64_t size; /* of a regular file, else 0 */
    uint64_t consumed;
    size_t at, len;
    unsigned char buffer[BUFFER_BYTES];
};

int input_open(struct input **in, const char *path)
{
    int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0)
        return err_sys("%s", path);
    const char *name = fd == STDIN_FILENO ? "stdin" : path;
    int result = fstat(fd, &st) < 0    ? err_sys("%s", name)
                 : S_ISDIR(st.st_mode) ? err_set(ERR_IO, "%s: is a directory, not a file", name)
                                       : 0;
    if (result < 0) {
        if (fd != STDIN_FILENO)
            close(fd);
        return -1;
    }
    struct input *new = xmalloc(sizeof *new);
    new->fd = fd;
    new->name = xstrdup(name);
    new->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    new->consumed = new->at = new->len = 0;
    *in = new;
    return 0;
}

void input_close(struct input **in)
{
    if (*in == NULL)
        return;
    if ((*in)->fd != STDIN_FILENO)
        close((*in)->fd);
    free((*in)->name);
    free(*in);
    *in = NULL;
}

const char *input_name(const struct input *in)
{
    return in->name;
}

double input_fraction(const struct input *in)
{
    return in->size > 0 ? (double)in->consumed / (double)in->size : -1;
}

static int interrupted(const struct input *in)
{
    return err_set(ERR_AGAIN, "%s: interrupted by a signal", in->name);
}

/* Refills the buffer: 1, 0 at the end, -1. */
static int refill(struct input *in)
{
    struct pollfd wait = {.fd = in->fd, .events = POLLIN};
    for (;;) {
        int ready = poll(&wait, 1, WAIT_MS);
        if (stage_stopping() && ready <= 0)
            return interrupted(in);
        if (ready < 0 && errno != EINTR)
            return err_sys("%s", in->name);
        if (ready <= 0)
            continue;
        ssize_t got = read(in->fd, in->buffer, BUFFER_BYTES);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got < 0)
            return err_sys("%s", in->name);
        in->at = 0;
        in->len = (size_t)got;
        in->consumed += (uint64_t)got;
        return got > 0;
    }
}

ssize_t input_read(struct input *in, void *to, size_t len)
{
    size_t done = 0;
    while (done < len) {
        if (in->at == in->len) {
            int more = refill(in);
            if (more < 0)
                return -1;
            if (more == 0)
                break;
        }
        size_t part = in->len - in->at < len - done ? in->len - in->at : len - done;
        memcpy((char *)to + done, in->buffer + in->at, part);
        in->at += part;
        done += part;
    }
    return (ssize_t)done;
}

int input_line(struct input *in, struct buf *line, size_t limit, uint64_t *whole)
{
    unsigned char last = 0;
    line->len = 0;
    *whole = 0;
    for (;;) {
        if (in->at == in->len) {
            int more = refill(in);
            if (more < 0 || (more == 0 && *whole == 0))
                return more;
            if (more == 0)
                break;
        }
        unsigned char *start = in->buffer + in->at, *end = memchr(start, '\n', in->len - in->at);
        size_t part = end ? (size_t)(end - start) : in->len - in->at;
        size_t room = limit - line->len;
        if (buf_try(line, part < room ? part : room, limit, in->name) < 0)
            return -1;
        buf_append(line, start, part < room ? part : room);
        if (part > 0)
            last = start[part - 1];
        *whole += part;
        in->at += part + (end != NULL);
        if (end)
            break;
    }
    if (last == '\r')
        --*whole;
    if (line->len > *whole)
        line->len = (size_t)*whole;
    return 1;
}
