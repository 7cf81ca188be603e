/*
 * Memory. x-functions are for sizes that our own code chose: they end the program when memory is gone. A size that came
 * from outside (a header, a message) goes through mem_try, which fails instead, after its limit was checked.
 */
#ifndef ATELIER_COMMON_MEM_H
#define ATELIER_COMMON_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

void *xmalloc(size_t bytes);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *p, size_t bytes);
char *xstrdup(const char *s);
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Ends the program as they do: for libraries whose allocations of ours fail. */
_Noreturn void mem_gone(size_t bytes);

/* NULL with an error that names `what` when bytes > limit (ERR_DATA) or memory is gone (ERR_AGAIN). */
void *mem_try(size_t bytes, size_t limit, const char *what);

/* A growing byte buffer; zero-initialise it. data[len] is not terminated unless buf_string is called. */
struct buf {
    unsigned char *data;
    size_t len, cap;
};
void buf_reserve(struct buf *b, size_t more); /* room for `more` bytes past len; data is not NULL */
/* The same for a size from outside: -1 with an error that names `what` when len would pass `limit` or memory is gone.
 */
int buf_try(struct buf *b, size_t more, size_t limit, const char *what);
void buf_append(struct buf *b, const void *data, size_t len);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *buf_string(struct buf *b); /* terminates with NUL, not counted in len; owned by the buffer */
void buf_free(struct buf *b);

/* Whole files. 0 or -1; a file of more than `limit` bytes is an error; what is read is appended. The write is to a file
 * beside, synced and renamed. */
int file_read(const char *path, size_t limit, struct buf *out);
int file_write(const char *path, const void *data, size_t len);
int file_write_parts(const char *path, const struct iovec *parts, size_t count); /* one after the other */
int file_sync(const char *path);                                                 /* fsync of a file or a directory */
int file_sync_parent(const char *path); /* a file just renamed is durable only when its directory is */
/* Whether a path is written where it is, not beside and renamed: a device, a pipe, or (/dev/stdout, /dev/fd/3) what is
 * open already. */
bool file_in_place(const char *path);
int file_make_dirs(const char *path); /* mkdir -p */
/* Locks what was opened at `path` for this process, until it is closed. 0, or -1: it could not be opened (fd is
 * negative), or another has it (ERR_AGAIN, "path: BUSY"). */
int file_lock(int fd, const char *path, const char *busy);

#endif
