/*
 * What the tests of files share: a directory of their own, whole files, and stdin and stdout lent to a test.
 */
#ifndef ATELIER_TESTS_UNIT_COMMON_SCRATCH_H
#define ATELIER_TESTS_UNIT_COMMON_SCRATCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/mem.h"
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char scratch[64];

static inline int scratch_make(void **state)
{
    (void)state;
    snprintf(scratch, sizeof scratch, "/tmp/atelier-test-XXXXXX");
    return mkdtemp(scratch) ? 0 : -1;
}

static inline int scratch_unlink(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static inline int scratch_remove(void **state)
{
    (void)state;
    return nftw(scratch, scratch_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

/* The path of a file in the directory; holds for the next 31 calls. */
static inline const char *scratch_path(const char *name)
{
    static char paths[32][256];
    static unsigned turn;
    char *path = paths[turn++ % 32];
    snprintf(path, sizeof paths[0], "%s/%s", scratch, name);
    return path;
}

static inline void scratch_write(const char *path, const void *data, size_t len)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

/* Makes fd 0 or 1 another file; gives what it was before, for unlend. */
static inline int lend(int fd, int instead)
{
    int before = dup(fd);
    assert_true(before >= 0 && dup2(instead, fd) == fd);
    close(instead);
    return before;
}

static inline void unlend(int fd, int before)
{
    assert_int_equal(dup2(before, fd), fd);
    close(before);
}

/* An unnamed file with this content, read from its start. */
static inline int memory_file(const void *data, size_t len)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

#endif
