/*
 * Whole files (mem.h): read up to a limit; written beside, synced and renamed.
 */
#include "common/err.h"
#include "common/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES (1u << 20)

static int read_all(int fd, const char *path, size_t limit, struct buf *out)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys("%s", path);
    if (S_ISDIR(st.st_mode))
        return err_set(ERR_IO, "%s: is a directory", path);
    if (S_ISREG(st.st_mode) && (uint64_t)st.st_size > limit)
        return err_set(ERR_DATA, "%s: %lld bytes, limit %zu", path, (long long)st.st_size, limit);
    size_t step = S_ISREG(st.st_mode) && st.st_size > 0 ? (size_t)st.st_size + 1 : READ_BYTES;
    size_t start = out->len;
    for (;;) {
        if (buf_try(out, step, SIZE_MAX, path) < 0)
            return -1;
        ssize_t got = read(fd, out->data + out->len, out->cap - out->len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_sys("%s", path);
        if (got == 0)
            return 0;
        out->len += (size_t)got;
        if (out->len - start > limit)
            return err_set(ERR_DATA, "%s: more than %zu bytes, the limit", path, limit);
        if (out->len == out->cap)
            step = out->len - start > READ_BYTES ? out->len - start : READ_BYTES;
        else
            step = 1;
    }
}

int file_read(const char *path, size_t limit, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys("%s", path);
    size_t start = out->len;
    int result = read_all(fd, path, limit, out);
    close(fd);
    if (result < 0)
        out->len = start;
    return result;
}

static int write_all(int fd, const unsigned char *data, size_t len)
{
    while (len > 0) {
        ssize_t put = write(fd, data, len);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -1;
        data += put;
        len -= (size_t)put;
    }
    return 0;
}

int file_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int result = fd < 0 || fsync(fd) < 0 ? err_sys("%s: cannot sync", path) : 0;
    if (fd >= 0)
        close(fd);
    return result;
}

int file_sync_parent(const char *path)
{
    char *copy = xstrdup(path);
    int result = file_sync(dirname(copy));
    free(copy);
    return result;
}

bool file_in_place(const char *path)
{
    struct stat st;
    bool descriptor = strncmp(path, "/dev/std", 8) == 0 || strncmp(path, "/dev/fd/", 8) == 0;
    return descriptor || (stat(path, &st) == 0 && !S_ISREG(st.st_mode));
}

int file_write_parts(const char *path, const struct iovec *parts, size_t count)
{
    bool in_place = file_in_place(path);
    char *beside = in_place ? xstrdup(path) : xasprintf("%s.%d.tmp", path, (int)getpid());
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    int result = fd < 0 ? -1 : 0;
    for (size_t i = 0; i < count && result == 0; i++)
        result = write_all(fd, parts[i].iov_base, parts[i].iov_len);
    if (result == 0 && !in_place)
        result = fsync(fd);
    int error = errno;
    if (fd >= 0 && close(fd) < 0 && result == 0) {
        result = -1;
        error = errno;
    }
    if (result == 0 && !in_place && rename(beside, path) < 0) {
        result = -1;
        error = errno;
    }
    if (result < 0) {
        if (fd >= 0 && !in_place)
            unlink(beside);
        errno = error;
        err_sys("%s", path);
    }
    free(beside);
    return result < 0 ? -1 : in_place ? 0 : file_sync_parent(path);
}

int file_write(const char *path, const void *data, size_t len)
{
    struct iovec part = {(void *)data, len};
    return file_write_parts(path, &part, 1);
}

int file_lock(int fd, const char *path, const char *busy)
{
    if (fd < 0)
        return err_sys("%s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    return errno == EWOULDBLOCK ? err_set(ERR_AGAIN, "%s: %s", path, busy) : err_sys("%s: cannot lock it", path);
}

int file_make_dirs(const char *path)
{
    char *copy = xstrdup(path);
    int result = 0;
    for (char *p = copy + (*copy == '/'); result == 0; p++) {
        if (*p != '/' && *p != 0)
            continue;
        char end = *p;
        *p = 0;
        if (mkdir(copy, 0777) < 0 && errno != EEXIST)
            result = err_sys("%s: cannot make the directory", copy);
        *p = end;
        if (end == 0)
            break;
    }
    struct stat st;
    if (result == 0 && (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)))
        result = err_set(ERR_IO, "%s: is in the way and no directory", path);
    free(copy);
    return result;
}
