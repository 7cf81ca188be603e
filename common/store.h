/*
 * The store: a directory of LMDB shards (000000.mdb, 000001.mdb, ...) of SHARD_RECORDS ids each, written by one process
 * in id order. Values are records packed with codes at 13 bits and a crc32c. meta.json beside the shards keeps the
 * format's version and the run's identity. See store.c for the layout of a value.
 */
#ifndef ATELIER_COMMON_STORE_H
#define ATELIER_COMMON_STORE_H

#include "common/record.h"

#define STORE_SHARD_RECORDS 1000000u

struct store;

/* Opens for reading (many processes may) or for writing (one; made if absent). `run`: NULL, or an identity: a store
 * that keeps another is refused with both named. 0 or -1. */
int store_open_read(struct store **s, const char *path);
int store_open_write(struct store **s, const char *path, const char *run);

/* Puts a record under its id. An id below the cursor is dropped silently (done already); one above waits in a bounded
 * window until those before it came. Commits by itself every few thousand records or each second. 0 or -1. */
int store_put(struct store *s, const struct record *r);
int store_commit(struct store *s);

/* Ids 0 .. cursor-1 are all in the store. */
uint64_t store_cursor(const struct store *s);

/* 1 and the record, 0 when the id is absent, -1 when it is damaged or unreadable. */
int store_get(struct store *s, uint64_t id, struct record *r);

struct store_stats {
    uint64_t records, rejects; /* kept and tombstones */
    uint64_t bytes;            /* of the shard files in use */
};
int store_stats(struct store *s, struct store_stats *stats);

/* Commits if open for writing; 0 or -1 (nothing already committed is lost). NULLs *s in any case. */
int store_close(struct store **s);

#endif
