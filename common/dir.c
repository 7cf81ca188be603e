/*
 * The kind "dir": pictures of a directory by name, each with its caption beside (a.jpg, a.txt). The sink writes
 * 000000012.jpg (or .png), .txt and .json.
 */
#include "common/endpoint.h"
#include "common/err.h"
#include "common/input.h"
#include "common/members.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct dir_source {
    char *path;
    char **names;
    size_t count, cap, at;
    struct buf bytes;
};

struct dir_sink {
    char *path;
    int fd;
};

static void source_dir_close(void *self)
{
    struct dir_source *s = self;
    for (size_t i = 0; i < s->count; i++)
        free(s->names[i]);
    free(s->names);
    free(s->path);
    buf_free(&s->bytes);
    free(s);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_picture(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot != NULL && member_of(dot + 1) == MEMBER_IMAGE;
}

static int source_dir_open(void **self, const char *rest, const struct source_options *options)
{
    (void)options;
    DIR *dir = opendir(rest);
    if (dir == NULL)
        return err_sys("%s", rest);
    struct dir_source *s = xcalloc(1, sizeof *s);
    s->path = xstrdup(rest);
    const struct dirent *entry;
    while (errno = 0, (entry = readdir(dir)) != NULL) {
        if (!is_picture(entry->d_name))
            continue;
        if (s->count == s->cap) {
            s->cap = s->cap ? 2 * s->cap : 256;
            s->names = xrealloc(s->names, s->cap * sizeof *s->names);
        }
        s->names[s->count++] = xstrdup(entry->d_name);
    }
    int result = errno ? err_sys("%s", rest) : 0;
    closedir(dir);
    if (result < 0) {
        source_dir_close(s);
        return -1;
    }
    if (s->count > 0)
        qsort(s->names, s->count, sizeof *s->names, by_name);
    *self = s;
    return 0;
}

static int read_caption(struct dir_source *s, struct record *r, const char *path)
{
    struct stat st;
    struct input *in;
    size_t most = record_fields[FIELD_CAPTION].limit + 1; /* a line end may go */
    if (stat(path, &st) < 0)
        return errno == ENOENT ? 0 : err_sys("%s", path);
    if (input_open(&in, path) < 0)
        return -1;
    size_t size = (uint64_t)st.st_size < most ? (size_t)st.st_size : most;
    s->bytes.len = 0;
    buf_reserve(&s->bytes, size);
    ssize_t got = input_read(in, s->bytes.data, size);
    input_close(&in);
    if (got < 0)
        return -1;
    member_set_caption(r, s->bytes.data, (size_t)got, (size_t)got < size ? (uint64_t)got : (uint64_t)st.st_size);
    return 0;
}

static int source_dir_next(void *self, struct record *r)
{
    struct dir_source *s = self;
    if (s->at == s->count)
        return 0;
    const char *name = s->names[s->at];
    record_clear(r);
    record_set_u64(r, FIELD_ID, s->at++);
    record_set_key(r, "%s/%s", s->path, name);

    char *picture = xasprintf("%s/%s", s->path, name);
    char *caption = xasprintf("%s/%.*s.txt", s->path, (int)(strrchr(name, '.') - name), name);
    s->bytes.len = 0;
    if (file_read(picture, record_fields[FIELD_IMAGE].limit, &s->bytes) < 0)
        record_reject(r, "image: %s", err_text());
    else
        record_set_string(r, FIELD_IMAGE, s->bytes.data, s->bytes.len);
    if (read_caption(s, r, caption) < 0)
        record_reject(r, "caption: %s", err_text());
    free(picture);
    free(caption);
    return 1;
}

static double source_dir_fraction(const void *self)
{
    const struct dir_source *s = self;
    return s->count > 0 ? (double)s->at / (double)s->count : -1;
}

static int sink_dir_open(void **self, const char *rest, const struct sink_options *options)
{
    (void)options;
    if (file_make_dirs(rest) < 0)
        return -1;
    int fd = open(rest, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys("%s", rest);
    struct dir_sink *s = xmalloc(sizeof *s);
    *s = (struct dir_sink){xstrdup(rest), fd};
    *self = s;
    return 0;
}

static int put_file(void *to, const char *name, const void *data, size_t len)
{
    const struct dir_sink *s = to;
    int fd = openat(s->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return err_sys("%s/%s", s->path, name);
    int result = 0;
    while (len > 0 && result == 0) {
        ssize_t put = write(fd, data, len);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            result = err_sys("%s/%s", s->path, name);
        } else {
            data = (const char *)data + put;
            len -= (size_t)put;
        }
    }
    close(fd);
    return result;
}

static int sink_dir_put(void *self, const struct record *r)
{
    return members_write(r, put_file, self);
}

/* One sync of the file system instead of one a file. */
static int sink_dir_finish(void *self)
{
    const struct dir_sink *s = self;
    return syncfs(s->fd) < 0 ? err_sys("%s", s->path) : 0;
}

static void sink_dir_close(void *self)
{
    struct dir_sink *s = self;
    close(s->fd);
    free(s->path);
    free(s);
}

const struct source_kind source_dir = {.scheme = "dir",
                                       .foreign = true,
                                       .open = source_dir_open,
                                       .next = source_dir_next,
                                       .fraction = source_dir_fraction,
                                       .close = source_dir_close};
const struct sink_kind sink_dir = {.scheme = "dir",
                                   .foreign = true,
                                   .open = sink_dir_open,
                                   .put = sink_dir_put,
                                   .finish = sink_dir_finish,
                                   .close = sink_dir_close};
