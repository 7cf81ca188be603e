/*
 * One shard: an LMDB file with integer keys, which are an id and the number of a part of its value. Never WRITEMAP and
 * never NOSYNC: a commit that returns is on disk, and a wild pointer of ours cannot reach the data.
 */
#include "common/err.h"
#include "common/store_private.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Reserved address space, not memory and not disk; 250 shards of it fit into 47 bits. */
#define MAP_BYTES ((size_t)256 << 30)
#define LOCK_BYTES 8192 /* of LMDB's 126 readers */

/* What LMDB does with a page; larger values get pages of their own. */
#define PAGE_BYTES ((size_t)4096)
#define PAGE_HEAD_BYTES 16
#define NODE_HEAD_BYTES 18 /* with the key */
#define NODE_MOST_BYTES 2022

int shard_error(const struct shard *s, int rc, const char *what)
{
    struct statvfs fs;
    switch (rc) {
    case ENOSPC:
    case EDQUOT:
    case EIO: { /* LMDB says EIO of a write that the full disk cut short */
        uint64_t room = statvfs(s->path, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize >> 20 : 0;
        return err_set(ERR_AGAIN,
                       "%s: %s: %s; %" PRIu64
                       " MB are free there. What was committed is safe: make room and run it again",
                       s->path, what, strerror(room == 0 && rc == EIO ? ENOSPC : rc), room);
    }
    case ENOMEM:
    case EAGAIN:
    case MDB_MAP_FULL:
    case MDB_READERS_FULL:
        return err_set(ERR_AGAIN, "%s: %s: %s", s->path, what, mdb_strerror(rc));
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_CURSOR_FULL:
    case MDB_INCOMPATIBLE:
    case MDB_BAD_VALSIZE:
    case MDB_NOTFOUND:
        return err_set(ERR_DATA, "%s: %s: damaged (%s); look at it with: atelier-store verify", s->path, what,
                       mdb_strerror(rc));
    default:
        return err_set(ERR_IO, "%s: %s: %s", s->path, what, mdb_strerror(rc));
    }
}

/* A file that is shorter than its own account would end a reader with SIGBUS. Nothing but the first two pages, which
 * mdb_env_open has read, is touched here. */
static int check_size(struct shard *s)
{
    struct stat st;
    MDB_stat db;
    MDB_envinfo info;
    if (stat(s->path, &st) < 0)
        return err_sys("%s", s->path);
    mdb_env_stat(s->env, &db);
    mdb_env_info(s->env, &info);
    uint64_t need;
    if (__builtin_mul_overflow(info.me_last_pgno + 1, (uint64_t)db.ms_psize, &need) || need > (uint64_t)st.st_size)
        return err_set(ERR_DATA, "%s: the file is cut: it has %" PRIu64 " bytes, its last page is %" PRIu64, s->path,
                       (uint64_t)st.st_size, (uint64_t)info.me_last_pgno);
    return 0;
}

/* Where address space is limited (ulimit -v), a part of it: the rest of the program needs some too. */
static size_t map_bytes(void)
{
    struct rlimit space;
    if (getrlimit(RLIMIT_AS, &space) < 0 || space.rlim_cur == RLIM_INFINITY || space.rlim_cur / 4 > MAP_BYTES)
        return MAP_BYTES;
    return space.rlim_cur / 4;
}

/* LMDB believes what its pages say, and reads outside of its file where they are damaged. Such a fault ends the
 * reading, not the program. */
static _Thread_local sigjmp_buf *way_out;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct sigaction segv_before, bus_before;

/* Any other fault goes to who had it before, when it comes again at once. */
static void on_fault(int number)
{
    if (way_out)
        siglongjmp(*way_out, 1);
    sigaction(number, number == SIGBUS ? &bus_before : &segv_before, NULL);
}

static void catch_faults(void)
{
    const struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};
    sigaction(SIGSEGV, &action, &segv_before);
    sigaction(SIGBUS, &action, &bus_before);
}

static void on_assert(MDB_env *env, const char *text)
{
    (void)env;
    (void)text;
    if (way_out)
        siglongjmp(*way_out, 1);
    abort();
}

/* LMDB maps the file of its locks and writes to it: where the disk is full, that would end the program with SIGBUS. */
static int reserve_locks(const struct shard *s)
{
    char *path = xasprintf("%s-lock", s->path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666), rc = 0;
    if (fd >= 0 && fallocate(fd, 0, 0, LOCK_BYTES) < 0 && (errno == ENOSPC || errno == EDQUOT))
        rc = shard_error(s, errno, "cannot make the file of its locks");
    if (fd >= 0) /* else LMDB does without, or says why it cannot */
        close(fd);
    free(path);
    return rc;
}

/* Readers are known to the writer by the lock file. Who may not write that reads without, and keeps writers away. */
static int keep_writers_away(struct shard *s, const char *store)
{
    char *locks = xasprintf("%s-lock", s->path);
    bool known = access(locks, W_OK) == 0 || (errno == ENOENT && access(store, W_OK) == 0);
    int rc = 0;
    if (!known) {
        s->guard = open(store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (s->guard < 0)
            rc = err_sys("%s", store);
        else if (flock(s->guard, LOCK_SH | LOCK_NB) < 0)
            rc = errno == EWOULDBLOCK ? err_set(ERR_AGAIN,
                                                "%s: a process writes to this store, and readers that may not write "
                                                "to %s have to wait for its end",
                                                store, locks)
                                      : err_sys("%s: cannot lock it", store);
    }
    free(locks);
    return rc;
}

static int open_env(struct shard *s, bool writing)
{
    unsigned flags = MDB_NOSUBDIR | MDB_NOTLS | (writing ? 0 : MDB_RDONLY) | (s->guard >= 0 ? MDB_NOLOCK : 0);
    int dead;
    if (s->guard < 0 && reserve_locks(s) < 0)
        return -1;
    int rc = mdb_env_create(&s->env);
    if (rc == 0)
        rc = mdb_env_set_assert(s->env, on_assert);
    if (rc == 0)
        rc = mdb_env_set_mapsize(s->env, map_bytes());
    if (rc == 0)
        rc = mdb_env_open(s->env, s->path, flags, 0666);
    if (rc != 0)
        return shard_error(s, rc, "cannot open it");
    if (check_size(s) < 0)
        return -1;
    rc = mdb_reader_check(s->env, &dead);
    return rc ? shard_error(s, rc, "cannot look for dead readers") : 0;
}

static int open_table(struct shard *s, bool writing)
{
    MDB_txn *txn = NULL;
    unsigned flags = 0;
    int rc = mdb_txn_begin(s->env, NULL, writing ? 0 : MDB_RDONLY, &txn);
    if (rc == 0)
        rc = mdb_dbi_open(txn, NULL, writing ? MDB_INTEGERKEY : 0, &s->dbi);
    if (rc == 0)
        rc = mdb_dbi_flags(txn, s->dbi, &flags);
    if (rc == 0 && !(flags & MDB_INTEGERKEY))
        rc = MDB_INCOMPATIBLE;
    if (rc == 0)
        rc = mdb_txn_commit(txn);
    else if (txn)
        mdb_txn_abort(txn);
    if (rc == 0 && (rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->reader)) == 0)
        mdb_txn_reset(s->reader);
    return rc ? shard_error(s, rc, "cannot open its table") : 0;
}

/* Made beside and renamed: a shard that is there has its first two pages and its table, whatever ended its writer. */
static int make(const char *path)
{
    struct shard fresh = {.path = xasprintf("%s.new", path), .guard = -1};
    char *made = xstrdup(fresh.path), *locks = xasprintf("%s-lock", made);
    unlink(made);
    int rc = open_env(&fresh, true) < 0 || open_table(&fresh, true) < 0 ? -1 : 0;
    shard_close(&fresh, false);
    if (rc == 0 && rename(made, path) < 0)
        rc = err_sys("%s", path);
    if (rc < 0)
        unlink(made);
    unlink(locks);
    free(made);
    free(locks);
    return rc == 0 ? file_sync_parent(path) : -1;
}

int shard_open(struct shard *s, const char *store, uint64_t number, bool writing)
{
    struct stat st;
    *s = (struct shard){.path = xasprintf("%s/%06" PRIu64 ".mdb", store, number), .guard = -1};
    bool present = stat(s->path, &st) == 0;
    int rc = 0;
    if (!present && !writing)
        rc = err_sys("%s", s->path);
    else if (present && st.st_size == 0 && !writing)
        rc = err_set(ERR_DATA, "%s: empty", s->path);
    if (rc == 0 && !present)
        rc = make(s->path);
    if (rc == 0 && !writing)
        rc = keep_writers_away(s, store);
    if (rc == 0)
        rc = open_env(s, writing);
    if (rc == 0)
        rc = open_table(s, writing);
    if (rc < 0)
        shard_close(s, false);
    return rc;
}

int shard_close(struct shard *s, bool seal)
{
    if (s->reader)
        mdb_txn_abort(s->reader);
    if (s->env)
        mdb_env_close(s->env);
    if (s->path && s->guard >= 0)
        close(s->guard);
    int rc = seal ? sum_write(s->path) : 0;
    free(s->path);
    buf_free(&s->parts);
    *s = (struct shard){0};
    return rc;
}

int shard_begin_write(struct shard *s, MDB_txn **txn)
{
    if (!s->changed && sum_remove(s->path) < 0)
        return -1;
    s->changed = true;
    int rc = mdb_txn_begin(s->env, NULL, 0, txn);
    return rc ? shard_error(s, rc, "cannot begin to write") : 0;
}

/* Whether a value is cut into parts: where by itself it would leave a fifth of its pages empty, as one a little over
 * half a page does, and one a little over a page. One as long as a part is, so as not to be taken for one. */
static bool is_cut(size_t len)
{
    size_t pages = (len + PAGE_HEAD_BYTES + PAGE_BYTES - 1) / PAGE_BYTES, taken = pages * PAGE_BYTES;
    if (len <= NODE_MOST_BYTES)
        taken = PAGE_BYTES / ((PAGE_BYTES - PAGE_HEAD_BYTES) / (len + NODE_HEAD_BYTES));
    return len == SHARD_PART_BYTES || (len > SHARD_PART_BYTES && 4 * taken > 5 * len);
}

int shard_put(struct shard *s, MDB_txn *txn, uint64_t id, const struct buf *value)
{
    bool cut = is_cut(value->len), last = false;
    uint64_t number = id << SHARD_PART_BITS;
    for (size_t at = 0; !last; at += SHARD_PART_BYTES, number++) {
        last = !cut || value->len - at < SHARD_PART_BYTES;
        MDB_val key = {sizeof number, &number};
        MDB_val data = {last ? value->len - at : SHARD_PART_BYTES, value->data + at};
        int rc = mdb_put(txn, s->dbi, &key, &data, MDB_APPEND);
        if (rc)
            return shard_error(s, rc, "cannot write");
    }
    return 0;
}

/* What is read, and who takes it. */
struct reading {
    uint64_t id;
    shard_take *take;
    void *self;
};

static int read_value(struct shard *s, void *reading)
{
    struct reading *r = reading;
    uint64_t number = r->id << SHARD_PART_BITS;
    MDB_val key = {sizeof number, &number}, value;
    int rc = mdb_get(s->reader, s->dbi, &key, &value);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : shard_error(s, rc, "cannot read");
    s->parts.len = 0;
    while (value.mv_size == SHARD_PART_BYTES) {
        buf_append(&s->parts, value.mv_data, value.mv_size);
        number++;
        rc = number >> SHARD_PART_BITS == r->id ? mdb_get(s->reader, s->dbi, &key, &value) : MDB_CORRUPTED;
        if (rc != 0 || value.mv_size > SHARD_PART_BYTES)
            return shard_error(s, rc ? rc : MDB_CORRUPTED, "cannot read");
    }
    if (s->parts.len > 0) {
        buf_append(&s->parts, value.mv_data, value.mv_size);
        value = (MDB_val){s->parts.len, s->parts.data};
    }
    rc = r->take(r->self, r->id, &value);
    return rc < 0 ? err_wrap("%s", s->path) : rc;
}

static int read_end(struct shard *s, void *end)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    uint64_t last;
    int rc = mdb_cursor_open(s->reader, s->dbi, &cursor);
    if (rc)
        return shard_error(s, rc, "cannot read");
    rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    if (rc == 0 && key.mv_size == sizeof last) {
        memcpy(&last, key.mv_data, sizeof last);
        *(uint64_t *)end = (last >> SHARD_PART_BITS) + 1;
    }
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : shard_error(s, rc, "cannot read");
}

/* `act` in a transaction, its faults caught. */
static int guarded(struct shard *s, int (*act)(struct shard *s, void *self), void *self)
{
    sigjmp_buf here;
    int rc = mdb_txn_renew(s->reader);
    if (rc)
        return shard_error(s, rc, "cannot read");
    pthread_once(&once, catch_faults);
    if (sigsetjmp(here, 0) == 0) {
        way_out = &here;
        rc = act(s, self);
    } else {
        rc = err_set(ERR_DATA, "%s: its pages are damaged; look at it with: atelier-store verify", s->path);
    }
    way_out = NULL;
    mdb_txn_reset(s->reader);
    return rc;
}

int shard_read(struct shard *s, uint64_t id, shard_take *take, void *self)
{
    struct reading reading = {id, take, self};
    return guarded(s, read_value, &reading);
}

int shard_end(struct shard *s, uint64_t first, uint64_t *end)
{
    *end = first;
    return guarded(s, read_end, end);
}
