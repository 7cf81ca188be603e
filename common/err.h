/*
 * Errors of fallible functions. A function that can fail returns 0 (or a count) on success and -1 on failure, after
 * it has said once what went wrong with err_set. Callers add context with err_wrap, or clean up and return -1.
 * The text belongs to the calling thread and holds until its next err_set.
 */
#ifndef ATELIER_COMMON_ERR_H
#define ATELIER_COMMON_ERR_H

/* The program's exit codes (sysexits.h where it has one). */
enum {
    ERR_USAGE = 2,  /* wrong options or arguments */
    ERR_DATA = 65,  /* input that cannot be used */
    ERR_BUG = 70,   /* a state that our own code should have made impossible */
    ERR_IO = 74,    /* a file or a device failed */
    ERR_AGAIN = 75, /* may succeed later: full disk, out of memory, lost peer */
    ERR_PIPE = 141, /* the reader of our output has gone: end quietly, as after SIGPIPE */
};

/* Sets the error to `code` and the formatted text (name what, where, and what to do); always returns -1. */
int err_set(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same, ending in ": " and strerror(errno). ENOSPC, EDQUOT, ENOMEM and EAGAIN become ERR_AGAIN, EPIPE
 * becomes ERR_PIPE, all else ERR_IO. */
int err_sys(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Puts "context: " in front of the present text and keeps its code; always returns -1. */
int err_wrap(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Tells compilers and analysers that these return -1, so that they follow the failing path no further. */
static inline int err_failed(void)
{
    return -1;
}
#define err_set(...) (err_set(__VA_ARGS__), err_failed())
#define err_sys(...) (err_sys(__VA_ARGS__), err_failed())
#define err_wrap(...) (err_wrap(__VA_ARGS__), err_failed())

const char *err_text(void);
int err_code(void);

#endif
