/*
 * The kind "dir": pictures of a directory and of the folders in it, by path, each with its caption beside (a.jpg,
 * a.txt). The sink writes 000000012.jpg (or .png), .txt and .json.
 */
#include "common/endpoint.h"
#include "common/err.h"
#include "common/expand.h"
#include "common/input.h"
#include "common/log.h"
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
    struct names pictures; /* behind the path */
    size_t at;
    struct buf bytes;
};

struct dir_sink {
    char *path;
    int fd;
};

static void source_dir_close(void *self)
{
    struct dir_source *s = self;
    names_free(&s->pictures);
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

/* What the entry is (S_IF...), a symbolic link what it leads to; 0 where that is not to be learned. */
static mode_t type_of(DIR *dir, const struct dirent *entry)
{
    struct stat st;
    if (entry->d_type != DT_UNKNOWN && entry->d_type != DT_LNK)
        return DTTOIF(entry->d_type);
    return fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 ? st.st_mode & S_IFMT : 0;
}

/* Adds the pictures and folders of one folder, "" or "a/b/". What is hidden, as .thumbnails, is no folder of pictures,
 * and a link to a folder may lead round in a circle. */
static int read_folder(struct dir_source *s, const char *folder, struct names *folders)
{
    char *path = xasprintf("%s/%s", s->path, folder);
    DIR *dir = opendir(path);
    const struct dirent *entry;
    int result = 0;
    while (dir && (errno = 0, (entry = readdir(dir)) != NULL)) {
        mode_t type = type_of(dir, entry);
        if (type == S_IFDIR && entry->d_type == DT_LNK)
            log_warn("dir:%s%s: a link to a folder is not followed", path, entry->d_name);
        else if (type == S_IFDIR && entry->d_name[0] != '.')
            names_add(folders, xasprintf("%s%s/", folder, entry->d_name));
        else if ((type == S_IFREG || type == 0) && is_picture(entry->d_name))
            names_add(&s->pictures, xasprintf("%s%s", folder, entry->d_name));
    }
    if (errno)
        result = err_sys("%s", path);
    if (dir)
        closedir(dir);
    free(path);
    return result;
}

static int source_dir_open(void **self, const char *rest, const struct source_options *options)
{
    (void)options;
    struct dir_source *s = xcalloc(1, sizeof *s);
    struct names folders = {0};
    s->path = xstrdup(rest);
    names_add(&folders, xstrdup(""));
    int result = 0;
    for (size_t i = 0; i < folders.count && result == 0; i++)
        result = read_folder(s, folders.name[i], &folders);
    names_free(&folders);
    if (result < 0) {
        source_dir_close(s);
        return -1;
    }
    if (s->pictures.count == 0)
        log_warn("dir:%s: there are no pictures in it", rest);
    else
        qsort(s->pictures.name, s->pictures.count, sizeof *s->pictures.name, by_name);
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
    if (!S_ISREG(st.st_mode))
        return err_set(ERR_IO, "%s: is no file", path);
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
    if (s->at == s->pictures.count)
        return 0;
    const char *name = s->pictures.name[s->at];
    record_clear(r);
    record_set_u64(r, FIELD_ID, s->at++);
    record_set_key(r, "%s/%s", s->path, name);

    char *picture = xasprintf("%s/%s", s->path, name);
    char *caption = xasprintf("%s/%.*s.txt", s->path, (int)(strrchr(name, '.') - name), name);
    int result = 0;
    s->bytes.len = 0;
    if (file_read(picture, record_fields[FIELD_IMAGE].limit, &s->bytes) < 0)
        result = record_blame(r, "image");
    else
        record_set_string(r, FIELD_IMAGE, s->bytes.data, s->bytes.len);
    if (result == 0 && read_caption(s, r, caption) < 0)
        result = record_blame(r, "caption");
    free(picture);
    free(caption);
    return result < 0 ? -1 : 1;
}

static double source_dir_fraction(const void *self)
{
    const struct dir_source *s = self;
    return s->pictures.count > 0 ? (double)s->at / (double)s->pictures.count : -1;
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
