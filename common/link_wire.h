/*
 * Messages of a link as bytes. A message is two frames: a head of fixed size with its own checksum, and a body, whose
 * checksum the head carries. Whatever comes is checked against the bytes that are there; nothing is allocated.
 */
#ifndef ATELIER_COMMON_LINK_WIRE_H
#define ATELIER_COMMON_LINK_WIRE_H

#include "common/record.h"

#define LINK_VERSION 2
#define LINK_HEAD_BYTES 52
#define LINK_MAX_BODY_BYTES ((size_t)400 << 20) /* over the sum of a record's limits */
#define LINK_MAX_TEXT_BYTES 1024                /* of a run's name or a reason */
#define LINK_END_BATCH UINT64_MAX               /* the batch of an ACK that confirms END */

enum link_type {
    LINK_HELLO = 1, /* body: role, run. session 0: the session in `batch` is unknown here, begin anew */
    LINK_CREDIT,    /* batch, sequence: items and bytes that may have been sent since the session began */
    LINK_DATA,      /* batch, attempt, items; sequence: counts from 1 in a session; body: records */
    LINK_ACK,       /* batch: all that came of it is stored */
    LINK_NACK,      /* batch, attempt; body: enum link_nack, why. batch 0: HELLO was refused */
    LINK_PING,      /* sequence: last DATA that came; body: the batches held */
    LINK_PONG,      /* sequence: last DATA that was sent; body: all that was sent since the session began */
    LINK_END,       /* batch: records of the whole input, which all are stored; again each second until an ACK */
};

enum link_nack {
    LINK_RETURN = 1, /* not tried: the worker leaves, and wants no more */
    LINK_RETRY,      /* failed, may succeed elsewhere */
    LINK_PERMANENT,  /* will fail wherever it is tried */
};

struct link_head {
    enum link_type type;
    uint32_t attempt, items;
    uint64_t session, batch, sequence;
    uint32_t sum; /* crc32c of the body; link_head_pack takes it, where it is not 0 */
};

void link_head_pack(const struct link_head *head, const void *body, size_t body_len, unsigned char *out);

/* 0, or -1 (ERR_DATA) where a length, a checksum, the version, the type or the body's form is wrong. */
int link_head_unpack(struct link_head *head, const void *data, size_t len, const void *body, size_t body_len);

/* A run's name, or the reason of a NACK, behind a leading byte. */
void link_text_pack(struct buf *body, uint8_t first, const char *text);

/* A body of DATA is records, each behind its length in four bytes. Both append one. */
void link_record_pack(struct buf *body, const struct record *r);
void link_record_copy(struct buf *body, const void *packed, size_t len);

struct link_records {
    const unsigned char *at, *end;
};
/* Takes the next record of a body that link_head_unpack let through: false at its end. */
bool link_record_next(struct link_records *records, const unsigned char **data, size_t *len);

/* A body of PING is the batches held. */
struct link_held {
    uint64_t batch;
    bool passed; /* its records have gone on; what is waited for is their acknowledgement */
};
#define LINK_HELD_BYTES 9
void link_held_pack(struct buf *body, const struct link_held *held);
void link_held_unpack(struct link_held *held, const unsigned char *at);

/* The body of PONG. */
struct link_sent {
    uint64_t items, bytes;
};
#define LINK_SENT_BYTES 16
void link_sent_pack(unsigned char *at, const struct link_sent *sent);
void link_sent_unpack(struct link_sent *sent, const unsigned char *at);

#endif
