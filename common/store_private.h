/*
 * Shared by the store's files: meta.json, one shard, one value.
 */
#ifndef ATELIER_COMMON_STORE_PRIVATE_H
#define ATELIER_COMMON_STORE_PRIVATE_H

#include "common/store.h"
#include <lmdb.h>

/* store_meta.c: meta.json. */
struct store_meta {
    uint64_t shard_records;
    char *run; /* NULL: none */
};
int store_meta_read(struct store_meta *meta, const char *path); /* 1, 0 when there is none, -1 */
int store_meta_write(const struct store_meta *meta, const char *path);

/* How many shards the directory has, or -1 with an error: also when one is missing before the last. */
int64_t store_count_shards(const char *path);

/* store_shard.c: one LMDB file. */
struct shard {
    char *path;
    MDB_env *env; /* NULL: closed */
    MDB_dbi dbi;
    MDB_txn *reader;  /* reset between uses */
    struct buf parts; /* of the value that is read, put together */
    int guard;        /* of a reader without locks: keeps writers away; -1: none */
    bool changed;     /* written since it was opened: its checksums are gone until it is closed */
};

/* Opens shard `number`, made if absent when writing. The file's size is checked before any page of it is touched. */
int shard_open(struct shard *s, const char *store, uint64_t number, bool writing);
/* Closes; with `seal` it gets its checksum file, unless it has one. */
int shard_close(struct shard *s, bool seal);
/* One past the highest id in it, or `first` when it is empty. */
int shard_end(struct shard *s, uint64_t first, uint64_t *end);
/* Begins the write transaction that the first put after a commit needs. */
int shard_begin_write(struct shard *s, MDB_txn **txn);
/* Appends a value; a key is id << SHARD_PART_BITS | part. A node of SHARD_PART_BYTES goes on in the next part: six fill
 * a page of LMDB to the last byte. */
#define SHARD_PART_BITS 8
#define SHARD_PART_BYTES ((size_t)662)
int shard_put(struct shard *s, MDB_txn *txn, uint64_t id, const struct buf *value);
/* Gives the bytes of an id to `take`, which must not keep them: its result, 0 when the id is absent, -1. */
typedef int shard_take(void *self, uint64_t id, const MDB_val *value);
int shard_read(struct shard *s, uint64_t id, shard_take *take, void *self);

int shard_error(const struct shard *s, int rc, const char *what); /* an LMDB error as ours; always -1 */

/* store_sum.c: checksums of a whole file in SHARD.sum. */
int sum_write(const char *shard_path); /* one that is there is left */
int sum_remove(const char *shard_path);
/* 1 undamaged, 0 no checksums, -1 (ERR_DATA: which bytes differ). */
int sum_check(const char *shard_path);

/* store_window.c: packed records that came before their turn, by id. Memory is bounded; the rest waits in a file in
 * `dir`, which must live as long. */
struct window;
struct window *window_new(const char *dir);
void window_free(struct window **w);
/* Takes a value's bytes for an id; all that wait are at least `first`. 0 (also when it is there already) or -1. */
int window_put(struct window *w, uint64_t first, uint64_t id, const struct buf *value);
int window_take(struct window *w, uint64_t id, struct buf *value); /* 1 and the bytes, 0 when it is not there, or -1 */
size_t window_waiting(const struct window *w);

/* store_value.c. */
void store_value_pack(const struct record *r, struct buf *out); /* appends */
int store_value_unpack(uint64_t id, const void *data, size_t len, struct record *r);
bool store_value_is_reject(const void *data, size_t len);

#endif
