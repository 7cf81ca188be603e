/*
 * Errors of fallible functions: one text and code per thread (err.h).
 */
#include "common/err.h"
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#undef err_set
#undef err_sys
#undef err_wrap

#define TEXT_BYTES 2048

static _Thread_local char text[TEXT_BYTES];
static _Thread_local int code;

const char *err_text(void)
{
    return text;
}

int err_code(void)
{
    return code;
}

/* Formats aside first: the arguments may point into `text`. */
static void set(const char *format, va_list args, const char *tail)
{
    char fresh[TEXT_BYTES];
    vsnprintf(fresh, sizeof fresh, format, args);
    size_t used = strlen(fresh), more = strnlen(tail, sizeof fresh - 1 - used);
    memcpy(fresh + used, tail, more);
    fresh[used + more] = 0;
    memcpy(text, fresh, sizeof text);
}

int err_set(int new_code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set(format, args, "");
    va_end(args);
    code = new_code;
    return -1;
}

int err_sys(const char *format, ...)
{
    int number = errno;
    char reason[256], tail[260];
    snprintf(tail, sizeof tail, ": %s", strerror_r(number, reason, sizeof reason));
    va_list args;
    va_start(args, format);
    set(format, args, tail);
    va_end(args);
    bool again = number == ENOSPC || number == EDQUOT || number == ENOMEM || number == EAGAIN;
    code = again ? ERR_AGAIN : number == EPIPE ? ERR_PIPE : ERR_IO;
    return -1;
}

int err_wrap(const char *format, ...)
{
    char tail[TEXT_BYTES + 2];
    snprintf(tail, sizeof tail, ": %s", text);
    va_list args;
    va_start(args, format);
    set(format, args, tail);
    va_end(args);
    return -1;
}
