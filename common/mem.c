/*
 * Memory: allocations that end the program, allocations that fail, the growing buffer (mem.h; whole files: file.c).
 */
#include "common/mem.h"
#include "common/err.h"
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Says it without allocating anything. */
_Noreturn void mem_gone(size_t bytes)
{
    fprintf(stderr, "%s: out of memory: %zu more bytes were refused\n", program_invocation_short_name, bytes);
    exit(ERR_AGAIN);
}

/* jansson without memory leaves things out, or calls the text damaged. */
__attribute__((constructor)) static void guard_jansson(void)
{
    json_set_alloc_funcs(xmalloc, free);
}

void *xmalloc(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    if (p == NULL)
        mem_gone(bytes);
    return p;
}

void *xcalloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size ? size : 1);
    if (p == NULL)
        mem_gone(size && count > SIZE_MAX / size ? SIZE_MAX : count * size);
    return p;
}

void *xrealloc(void *p, size_t bytes)
{
    p = realloc(p, bytes ? bytes : 1);
    if (p == NULL)
        mem_gone(bytes);
    return p;
}

char *xstrdup(const char *s)
{
    size_t bytes = strlen(s) + 1;
    return memcpy(xmalloc(bytes), s, bytes);
}

char *xasprintf(const char *format, ...)
{
    char *s;
    va_list args;
    va_start(args, format);
    if (vasprintf(&s, format, args) < 0)
        mem_gone(0);
    va_end(args);
    return s;
}

void *mem_try(size_t bytes, size_t limit, const char *what)
{
    if (bytes > limit) {
        err_set(ERR_DATA, "%s: %zu bytes, limit %zu", what, bytes, limit);
        return NULL;
    }
    void *p = malloc(bytes ? bytes : 1);
    if (p == NULL)
        err_set(ERR_AGAIN, "%s: no memory for %zu bytes", what, bytes);
    return p;
}

/* The next capacity that holds `need`, at least doubled so that appending is linear in the whole. */
static size_t grown(size_t cap, size_t need)
{
    if (cap < 64)
        cap = 64;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    return cap;
}

void buf_reserve(struct buf *b, size_t more)
{
    if (more > SIZE_MAX - b->len)
        mem_gone(more);
    if (b->data != NULL && b->len + more <= b->cap)
        return;
    b->cap = grown(b->cap, b->len + more);
    b->data = xrealloc(b->data, b->cap);
}

int buf_try(struct buf *b, size_t more, size_t limit, const char *what)
{
    if (more > limit || b->len > limit - more)
        return err_set(ERR_DATA, "%s: over %zu bytes, the limit", what, limit);
    size_t need = b->len + more;
    if (need <= b->cap)
        return 0;
    unsigned char *data = realloc(b->data, need);
    if (data == NULL)
        return err_set(ERR_AGAIN, "%s: no memory for %zu bytes", what, need);
    b->data = data;
    b->cap = need;
    return 0;
}

void buf_append(struct buf *b, const void *data, size_t len)
{
    if (len == 0)
        return;
    buf_reserve(b, len);
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

void buf_printf(struct buf *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    buf_reserve(b, (size_t)len + 1);
    vsnprintf((char *)b->data + b->len, (size_t)len + 1, format, again);
    va_end(again);
    b->len += (size_t)len;
}

char *buf_string(struct buf *b)
{
    buf_reserve(b, 1);
    b->data[b->len] = 0;
    return (char *)b->data;
}

void buf_free(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}
