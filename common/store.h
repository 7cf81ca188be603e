/*
 * The store: a directory of LMDB shards (000000.mdb, 000001.mdb, ...) of SHARD_RECORDS ids each, written by one process
 * in id order. Values are records packed with codes at 13 bits and a crc32c (store_value.c has the layout). meta.json
 * beside the shards keeps the format's version and the run's identity; NNNNNN.sum keeps the checksums of a shard that
 * was closed. Local disks only; open it after fork, and once in a process.
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
 * window until those before it came. All fields are kept, of a reject only id, key and reason. Commits by itself every
 * few thousand records, 64 MB or each second. 0 or -1; after a failure only store_close is of use. */
int store_put(struct store *s, const struct record *r);
int store_commit(struct store *s);

/* Ids 0 .. cursor-1 are all in the store (for a reader: when it was opened). */
uint64_t store_cursor(const struct store *s);

uint64_t store_committed(const struct store *s); /* and these are durable */

size_t store_waiting(const struct store *s); /* records in the window */

/* What comes over links may be far apart: a batch that left first can come last, and a stage may make hundreds of
 * records of one. */
void store_let_wait(struct store *s);

/* No commit depends on the clock from here on: equal records then make equal files. */
void store_commit_evenly(struct store *s);

/* Forgets the records that wait for one that has not come: whoever gave them gives them again. */
void store_forget_waiting(struct store *s);

const char *store_run(const struct store *s); /* the identity kept; NULL: none */

/* 1 and the record, 0 when the id is absent, -1 when it is damaged (ERR_DATA) or unreadable. */
int store_get(struct store *s, uint64_t id, struct record *r);

/* Whether the id holds a record that was kept, by its mark alone: the value is neither read nor checked. 1, 0 (a
 * reject, or absent) or -1. */
int store_has(struct store *s, uint64_t id);

struct store_stats {
    uint64_t records, rejects; /* kept and tombstones */
    uint64_t bytes;            /* of the shard files in use */
};
int store_stats(struct store *s, struct store_stats *stats);

/* A hash of all ids and values in id order: equal for equal records, however the commits fell. 64-bit FNV-1a. */
int store_digest(struct store *s, uint64_t *digest);

/* Commits if open for writing, and fails when records still wait for one that never came; 0 or -1 (nothing already
 * committed is lost). NULLs *s in any case. */
int store_close(struct store **s);

#define STORE_MAX_RULES 64
#define STORE_MAX_PROBLEMS 16

/* What store_verify found. */
struct store_report {
    uint64_t cursor, kept, rejects, bytes; /* readable records, bytes of shard files */
    struct {
        char name[40]; /* what stands before ':' in the reject */
        uint64_t count;
    } rules[STORE_MAX_RULES]; /* the last takes all for which there is no room */
    uint32_t rule_count;
    uint32_t unsealed;                      /* shards without checksums: not closed by their writer, or still open */
    uint64_t problem_count;                 /* 0: undamaged */
    char problems[STORE_MAX_PROBLEMS][256]; /* the first ones: which shard, which id, what */
};

/* Reads all of the store: file checksums, each id 0 .. cursor-1 once, each value's checksum and fields. Damaged pages
 * crash LMDB, so each shard is read in a child process; any damage is in the report. 0, or -1 when it cannot be read.
 */
int store_verify(const char *path, struct store_report *report);

#endif
