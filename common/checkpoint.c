/*
 * Checkpoint directories (checkpoint.h). Whatever is called .writing or .removing is not a checkpoint: a crash leaves
 * one of them behind at most, and the next begin clears it away.
 */
#include "common/checkpoint.h"
#include "common/err.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "checkpoint-"
#define KEPT 2
#define OPEN_DIRS 16

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *place)
{
    (void)st;
    (void)kind;
    (void)place;
    return remove(path);
}

static int remove_tree(const char *path)
{
    if (nftw(path, remove_entry, OPEN_DIRS, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
        return err_sys("%s: cannot remove it", path);
    return 0;
}

static int remove_in(const char *run, const char *name)
{
    char *path = xasprintf("%s/%s", run, name);
    int rc = remove_tree(path);
    free(path);
    return rc;
}

int checkpoint_begin(const char *run, char **dir)
{
    if (remove_in(run, ".writing") < 0 || remove_in(run, ".removing") < 0)
        return -1;
    *dir = xasprintf("%s/.writing", run);
    int rc = file_make_dirs(*dir);
    if (rc < 0) {
        free(*dir);
        *dir = NULL;
    }
    return rc;
}

static int sync_entry(const char *path, const struct stat *st, int kind, struct FTW *place)
{
    (void)st;
    (void)place;
    return kind == FTW_F || kind == FTW_DP ? file_sync(path) : 0;
}

/* True for "checkpoint-000001000" and gives 1000. */
static int read_step(const char *name, uint64_t *step)
{
    char *end;
    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0)
        return 0;
    name += strlen(PREFIX);
    size_t digits = strspn(name, "0123456789");
    if (name[digits] || digits < 9 || (digits > 9 && *name == '0')) /* not as path_of writes it */
        return 0;
    errno = 0;
    *step = strtoull(name, &end, 10);
    return errno == 0;
}

/* The checkpoint of the highest step below `limit`: 1, 0 when there is none, -1. */
static int newest_below(const char *run, uint64_t limit, uint64_t *step)
{
    int found = 0;
    DIR *d = opendir(run);
    if (!d)
        return errno == ENOENT ? 0 : err_sys("%s", run);
    struct dirent *entry;
    uint64_t s;
    while ((entry = readdir(d)) != NULL) {
        if (read_step(entry->d_name, &s) && s < limit && (!found || s > *step)) {
            *step = s;
            found = 1;
        }
    }
    closedir(d);
    return found;
}

static char *path_of(const char *run, uint64_t step)
{
    return xasprintf("%s/" PREFIX "%09" PRIu64, run, step);
}

/* A checkpoint that is being removed is renamed first, so that no half of one is ever taken for a whole. */
static int remove_older(const char *run)
{
    uint64_t step = 0;
    int found = 1, kept = 0;
    for (uint64_t limit = UINT64_MAX; found > 0; limit = step) {
        found = newest_below(run, limit, &step);
        if (found <= 0 || ++kept <= KEPT)
            continue;
        char *from = path_of(run, step), *to = xasprintf("%s/.removing", run);
        if (rename(from, to) < 0)
            found = err_sys("%s", from);
        else if (remove_tree(to) < 0)
            found = -1;
        free(from);
        free(to);
    }
    return found;
}

int checkpoint_commit(const char *run, uint64_t step)
{
    char *from = xasprintf("%s/.writing", run), *to = path_of(run, step);
    int rc = nftw(from, sync_entry, OPEN_DIRS, FTW_DEPTH | FTW_PHYS) != 0 ? err_wrap("cannot sync %s", from) : 0;
    /* The same step again: the two are exchanged, so that one of them stands there at any moment. */
    if (rc == 0 && rename(from, to) < 0 &&
        (errno != ENOTEMPTY && errno != EEXIST ? -1 : renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE)) < 0)
        rc = err_sys("%s: cannot rename it to %s", from, to);
    if (rc == 0)
        rc = file_sync(run);
    if (rc == 0)
        rc = remove_tree(from);
    if (rc == 0)
        rc = remove_older(run);
    free(from);
    free(to);
    return rc;
}

int checkpoint_latest(const char *run, char **dir, uint64_t *step)
{
    int found = newest_below(run, UINT64_MAX, step);
    if (found > 0)
        *dir = path_of(run, *step);
    return found;
}
