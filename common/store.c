/*
 * The store (store.h): shards in order, one of them written at a time, and the window in which records wait for those
 * before them.
 */
#include "common/store.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/store_private.h"
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WINDOW_RECORDS 65536u            /* how far ids may be apart */
#define WINDOW_LINKED_RECORDS (1u << 24) /* where they come over links */
#define COMMIT_RECORDS 4096u             /* at multiples of it, so that equal streams are cut alike */
#define COMMIT_BYTES ((size_t)64 << 20)  /* which LMDB holds in memory until then */
#define COMMIT_SECONDS 1.0

struct store {
    char *path;
    struct store_meta meta;
    struct shard *shards; /* opened on first use */
    uint64_t shard_count;
    uint64_t cursor, committed;

    bool writing, failed, evenly;
    int lock;           /* the directory, locked by its writer */
    MDB_txn *txn;       /* into the last shard; NULL: nothing to commit */
    size_t uncommitted; /* bytes */
    double last_commit; /* clock_now */
    struct buf value;
    struct window *window;
    uint64_t window_records;
};

static int open_shard(struct store *s, uint64_t number)
{
    struct shard *shard = &s->shards[number];
    return shard->env ? 0 : shard_open(shard, s->path, number, s->writing);
}

/* Finds where the store ends. A last shard that is empty was made just before a crash. */
static int find_cursor(struct store *s)
{
    if (s->shard_count == 0)
        return 0;
    uint64_t last = s->shard_count - 1;
    if (open_shard(s, last) < 0 || shard_end(&s->shards[last], last * s->meta.shard_records, &s->cursor) < 0)
        return -1;
    if (s->cursor < last * s->meta.shard_records || s->cursor > (last + 1) * s->meta.shard_records)
        return err_set(ERR_DATA,
                       "%s: its last id %" PRIu64 " belongs to another shard; look at it with: atelier-store verify",
                       s->shards[last].path, s->cursor - 1);
    s->committed = s->cursor;
    return 0;
}

static int open_shards(struct store *s)
{
    int64_t count = store_count_shards(s->path);
    if (count < 0)
        return -1;
    s->shard_count = (uint64_t)count;
    s->shards = xcalloc(s->shard_count, sizeof *s->shards);
    return find_cursor(s);
}

/* Frees all but records that were not committed; keeps the error that is set. */
static void destroy(struct store **pointer)
{
    struct store *s = *pointer;
    for (uint64_t i = 0; i < s->shard_count; i++)
        shard_close(&s->shards[i], false);
    window_free(&s->window);
    if (s->lock >= 0)
        close(s->lock);
    buf_free(&s->value);
    free(s->shards);
    free(s->meta.run);
    free(s->path);
    free(s);
    *pointer = NULL;
}

static struct store *create(const char *path, bool writing)
{
    struct store *s = xcalloc(1, sizeof *s);
    s->path = xstrdup(path);
    s->writing = writing;
    s->lock = -1;
    return s;
}

int store_open_read(struct store **out, const char *path)
{
    struct store *s = *out = create(path, false);
    int found = store_meta_read(&s->meta, path);
    if (found == 0)
        err_set(ERR_DATA, "%s: no store (it has no meta.json)", path);
    if (found <= 0 || open_shards(s) < 0) {
        destroy(out);
        return -1;
    }
    return 0;
}

static int lock_for_writing(struct store *s)
{
    s->lock = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return file_lock(s->lock, s->path, "another process writes to this store");
}

/* A new store gets meta.json first; an old one must be of the same run. */
static int adopt_run(struct store *s, const char *run)
{
    int found = store_meta_read(&s->meta, s->path);
    if (found < 0)
        return -1;
    if (found > 0 && run && s->meta.run && strcmp(run, s->meta.run) != 0)
        return err_set(ERR_DATA, "%s: it keeps the run '%s', these records are of the run '%s': choose another store",
                       s->path, s->meta.run, run);
    int64_t count = store_count_shards(s->path);
    if (count < 0)
        return -1;
    if (found == 0 && count > 0)
        return err_set(ERR_DATA, "%s: it has shards but no meta.json: not a whole store", s->path);
    if (found > 0 && (!run || s->meta.run))
        return 0;
    if (found > 0 && count > 0)
        return err_set(ERR_DATA,
                       "%s: it keeps records of no named run, these are of the run '%s': choose another store", s->path,
                       run);
    if (found == 0)
        s->meta.shard_records = STORE_SHARD_RECORDS;
    s->meta.run = run ? xstrdup(run) : NULL;
    return store_meta_write(&s->meta, s->path);
}

int store_open_write(struct store **out, const char *path, const char *run)
{
    struct store *s = *out = create(path, true);
    if (file_make_dirs(path) < 0 || lock_for_writing(s) < 0 || adopt_run(s, run) < 0 || open_shards(s) < 0) {
        destroy(out);
        return -1;
    }
    s->window = window_new(s->path);
    s->window_records = WINDOW_RECORDS;
    s->last_commit = clock_now();
    return 0;
}

/* What was not committed is gone; the store stands as after the last commit. */
static int fail(struct store *s)
{
    if (s->txn)
        mdb_txn_abort(s->txn);
    s->txn = NULL;
    s->cursor = s->committed;
    s->failed = true;
    return -1;
}

int store_commit(struct store *s)
{
    if (s->failed)
        return err_set(ERR_AGAIN, "%s: writing failed before", s->path);
    s->last_commit = clock_now();
    s->uncommitted = 0;
    if (!s->txn)
        return 0;
    int rc = mdb_txn_commit(s->txn);
    s->txn = NULL;
    if (rc) {
        shard_error(&s->shards[s->shard_count - 1], rc, "cannot commit");
        return fail(s);
    }
    s->committed = s->cursor;
    return 0;
}

/* Makes the shard of the cursor the last one, open for writing. */
static int reach_shard(struct store *s)
{
    uint64_t number = s->cursor / s->meta.shard_records;
    if (number < s->shard_count)
        return 0;
    if (store_commit(s) < 0)
        return -1;
    if (number > 0 && shard_close(&s->shards[number - 1], true) < 0)
        return -1;
    s->shards = xrealloc(s->shards, (number + 1) * sizeof *s->shards);
    s->shards[number] = (struct shard){0};
    s->shard_count = number + 1;
    return open_shard(s, number);
}

/* Writes the value of the id at the cursor. */
static int write_next(struct store *s, const struct buf *value)
{
    if (reach_shard(s) < 0)
        return fail(s);
    struct shard *shard = &s->shards[s->shard_count - 1];
    if (!s->txn && shard_begin_write(shard, &s->txn) < 0)
        return fail(s);
    if (shard_put(shard, s->txn, s->cursor, value) < 0)
        return fail(s);
    s->cursor++;
    s->uncommitted += value->len;
    return s->cursor % COMMIT_RECORDS == 0 || s->uncommitted >= COMMIT_BYTES ? store_commit(s) : 0;
}

/* Writes what waited for the id that has just come. */
static int write_waiting(struct store *s)
{
    int got;
    while ((got = window_take(s->window, s->cursor, &s->value)) > 0)
        if (write_next(s, &s->value) < 0)
            return -1;
    return got;
}

static int wait_in_window(struct store *s, const struct record *r)
{
    if (r->id - s->cursor >= s->window_records)
        return err_set(ERR_DATA,
                       "%s: id %" PRIu64 " came, and id %" PRIu64
                       " is still missing: records must come in the order of ids, "
                       "at most %" PRIu64 " apart",
                       s->path, r->id, s->cursor, s->window_records);
    s->value.len = 0;
    store_value_pack(r, &s->value);
    return window_put(s->window, s->cursor, r->id, &s->value);
}

int store_put(struct store *s, const struct record *r)
{
    if (s->failed)
        return err_set(ERR_AGAIN, "%s: writing failed before", s->path);
    if (!record_has(r, FIELD_ID))
        return err_set(ERR_DATA, "%s: a record without an id", s->path);
    if (r->id < s->cursor)
        return 0;
    if (r->id > s->cursor)
        return wait_in_window(s, r);
    s->value.len = 0;
    store_value_pack(r, &s->value);
    if (write_next(s, &s->value) < 0 || write_waiting(s) < 0)
        return -1;
    if (s->evenly)
        return 0;
    return clock_now() - s->last_commit >= COMMIT_SECONDS ? store_commit(s) : 0;
}

uint64_t store_cursor(const struct store *s)
{
    return s->cursor;
}

uint64_t store_committed(const struct store *s)
{
    return s->committed;
}

size_t store_waiting(const struct store *s)
{
    return window_waiting(s->window);
}

void store_let_wait(struct store *s)
{
    s->window_records = WINDOW_LINKED_RECORDS;
}

void store_commit_evenly(struct store *s)
{
    s->evenly = true;
}

void store_forget_waiting(struct store *s)
{
    window_free(&s->window);
    s->window = window_new(s->path);
}

const char *store_run(const struct store *s)
{
    return s->meta.run;
}

static int take_record(void *record, uint64_t id, const MDB_val *value)
{
    return store_value_unpack(id, value->mv_data, value->mv_size, record) < 0 ? -1 : 1;
}

static int take_mark(void *self, uint64_t id, const MDB_val *value)
{
    (void)self;
    (void)id;
    return !store_value_is_reject(value->mv_data, value->mv_size);
}

static int read_value(struct store *s, uint64_t id, shard_take *take, void *self)
{
    uint64_t number = id / s->meta.shard_records;
    if (number >= s->shard_count)
        return 0;
    if (open_shard(s, number) < 0)
        return -1;
    return shard_read(&s->shards[number], id, take, self);
}

int store_get(struct store *s, uint64_t id, struct record *r)
{
    return read_value(s, id, take_record, r);
}

int store_has(struct store *s, uint64_t id)
{
    return read_value(s, id, take_mark, NULL);
}

/* Calls `each`, which gives 1, for the bytes of every id. */
static int for_all(struct store *s, shard_take *each, void *self)
{
    for (uint64_t id = 0; id < s->committed; id++) {
        struct shard *shard = &s->shards[id / s->meta.shard_records];
        if (open_shard(s, id / s->meta.shard_records) < 0)
            return -1;
        int found = shard_read(shard, id, each, self);
        if (found == 0)
            return err_set(ERR_DATA, "%s: id %" PRIu64 " is missing", shard->path, id);
        if (found < 0)
            return -1;
    }
    return 0;
}

static int count_value(void *self, uint64_t id, const MDB_val *value)
{
    struct store_stats *stats = self;
    (void)id;
    if (store_value_is_reject(value->mv_data, value->mv_size))
        stats->rejects++;
    else
        stats->records++;
    return 1;
}

int store_stats(struct store *s, struct store_stats *stats)
{
    *stats = (struct store_stats){0};
    if (for_all(s, count_value, stats) < 0)
        return -1;
    for (uint64_t i = 0; i < s->shard_count; i++) {
        struct stat st;
        if (open_shard(s, i) < 0)
            return -1;
        if (stat(s->shards[i].path, &st) < 0)
            return err_sys("%s", s->shards[i].path);
        stats->bytes += (uint64_t)st.st_size;
    }
    return 0;
}

static int hash_value(void *self, uint64_t id, const MDB_val *value)
{
    uint64_t hash = *(uint64_t *)self ^ id;
    const unsigned char *p = value->mv_data;
    for (size_t i = 0; i < value->mv_size; i++)
        hash = (hash ^ p[i]) * 0x100000001b3ull;
    *(uint64_t *)self = hash;
    return 1;
}

int store_digest(struct store *s, uint64_t *digest)
{
    *digest = 0xcbf29ce484222325ull;
    return for_all(s, hash_value, digest);
}

int store_close(struct store **pointer)
{
    struct store *s = *pointer;
    int rc = 0;
    if (s->writing && !s->failed) {
        rc = store_commit(s);
        if (rc == 0 && s->shard_count > 0)
            rc = shard_close(&s->shards[s->shard_count - 1], true);
        if (rc == 0 && window_waiting(s->window) > 0)
            rc = err_set(ERR_DATA, "%s: id %" PRIu64 " never came; %zu records behind it were not stored", s->path,
                         s->cursor, window_waiting(s->window));
    }
    destroy(pointer);
    return rc;
}
