/*
 * A record: what flows between stages. On the wire it is a msgpack map; here a struct whose fields are listed once, in
 * record_fields, which drives packing, unpacking, JSON, printing and the fuzzer. Fields that this version does not know
 * are carried along unchanged. A record never vanishes: a stage that rejects one sets `reject` (record_reject).
 */
#ifndef ATELIER_COMMON_RECORD_H
#define ATELIER_COMMON_RECORD_H

#include "common/mem.h"
#include <stdbool.h>
#include <stdint.h>

enum field {
    FIELD_ID,        /* u64: dense, from 0, given by the source in a fixed order */
    FIELD_KEY,       /* string: where it came from, "shard.tar/member" or "file:line" */
    FIELD_CAPTION,   /* string, UTF-8 as it came */
    FIELD_IMAGE,     /* bytes: the encoded picture */
    FIELD_WIDTH,     /* u32: pixels, of the encoded picture */
    FIELD_HEIGHT,    /* u32 */
    FIELD_TOKENS,    /* i32[]: the caption's ids, at most T */
    FIELD_CUT,       /* u32: how many ids past T were dropped; absent when none */
    FIELD_CODES,     /* i32[]: views x grid x grid dVAE codes, raster order */
    FIELD_GRID,      /* u32: codes on a side */
    FIELD_CANDIDATE, /* u32: which of a caption's samples this is, from 0 */
    FIELD_SEED,      /* u64: what drew it */
    FIELD_SCORE,     /* f64: CLIP's cosine x exp(logit_scale); from encode --reconstruct the PSNR, in dB */
    FIELD_REJECT,    /* string "rule: detail": the record is a tombstone */
    FIELD_COUNT
};

enum field_type { TYPE_U64, TYPE_U32, TYPE_F64, TYPE_STRING, TYPE_BYTES, TYPE_INTS };

struct field_info {
    const char *name;
    enum field_type type;
    size_t offset; /* in struct record */
    size_t limit;  /* bytes of a string or of bytes, count of ints; more is an error */
};
extern const struct field_info record_fields[FIELD_COUNT];
int record_find_field(const void *name, size_t len); /* -1: none of that name */

/* Fields unknown here, over which a record is malformed: how many, and their msgpack bytes in all. */
#define RECORD_MAX_UNKNOWN_FIELDS 1024
#define RECORD_MAX_UNKNOWN_BYTES (16u << 20)

struct ints {
    int32_t *data;
    size_t len, cap;
};

/* Zero-initialise; record_free at the end. The record owns all that its buffers point to. */
struct record {
    uint32_t present; /* bit 1 << FIELD_x: the field is there */
    uint64_t id, seed;
    uint32_t width, height, cut, grid, candidate;
    double score;
    struct buf key, caption, image, reject;
    struct ints tokens, codes;
    struct buf unknown; /* msgpack key, value, key, value ... of fields unknown here */
    uint32_t unknown_count;
};

static inline bool record_has(const struct record *r, enum field f)
{
    return r->present >> f & 1;
}
void record_clear(struct record *r); /* no fields; keeps the buffers' memory */
void record_free(struct record *r);
void record_copy(struct record *to, const struct record *from);
void record_drop(struct record *r, enum field f);
void record_set_string(struct record *r, enum field f, const void *data, size_t len); /* TYPE_STRING and TYPE_BYTES */
void record_set_number(struct record *r, enum field f, double value);                 /* TYPE_U32 and TYPE_F64 */
void record_set_u64(struct record *r, enum field f, uint64_t value);
void record_set_ints(struct record *r, enum field f, const int32_t *data, size_t len);

/* Adds a field that has no name here, a string: it passes through all stages, as those of others do. */
void record_add_text(struct record *r, const char *name, const char *text, size_t len);

void record_set_key(struct record *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
void record_set_line_key(struct record *r, const char *name, uint64_t line); /* "name:line" */

/* Sets the caption to the `present` bytes at hand of one that is `whole` bytes long (all of them up to the limit). One
 * over the limit makes the record a tombstone that keeps the caption's beginning. */
void record_set_caption(struct record *r, const void *text, size_t present, uint64_t whole);

/* Makes it a tombstone: sets `reject` and drops the payload (image, tokens, codes); id, key and caption stay. */
void record_reject(struct record *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for the error that is set, "what: ...": 0. Memory that is gone is no fault of the record: -1. */
int record_blame(struct record *r, const char *what);

/* Appends the msgpack map to `out`. */
void record_pack(const struct record *r, struct buf *out);

/* Replaces `r` by what the `len` bytes hold; they must be one whole map. -1 (ERR_DATA) on anything malformed, a
 * known field twice, a wrong type, or a size over its limit; counts are checked against the bytes present before any
 * allocation. */
int record_unpack(struct record *r, const void *data, size_t len);

/* One JSON object, without newline; bytes are base64, numbers over INT64_MAX strings of digits. Strings that are no
 * UTF-8 have U+FFFD in place of bad bytes. */
void record_to_json(const struct record *r, struct buf *out);
int record_from_json(struct record *r, const char *text, size_t len);

#endif
