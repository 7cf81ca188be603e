/*
 * Messages of a link as bytes (link_wire.h). All numbers are little-endian:
 *   0 "ATLK"   4 version   5 type   6 zero   8 session   16 batch   24 sequence   32 attempt   36 items
 *   40 length of the body   44 crc32c of the body   48 crc32c of the 48 bytes before
 */
#include "common/link_wire.h"
#include "common/crc32c.h"
#include "common/err.h"
#include <endian.h>
#include <string.h>

static const unsigned char magic[4] = {'A', 'T', 'L', 'K'};

static void put32(unsigned char *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof value);
}

static void put64(unsigned char *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof value);
}

static uint32_t get32(const unsigned char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return le32toh(value);
}

static uint64_t get64(const unsigned char *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return le64toh(value);
}

void link_head_pack(const struct link_head *head, const void *body, size_t body_len, unsigned char *out)
{
    memset(out, 0, LINK_HEAD_BYTES);
    memcpy(out, magic, sizeof magic);
    out[4] = LINK_VERSION;
    out[5] = (unsigned char)head->type;
    put64(out + 8, head->session);
    put64(out + 16, head->batch);
    put64(out + 24, head->sequence);
    put32(out + 32, head->attempt);
    put32(out + 36, head->items);
    put32(out + 40, (uint32_t)body_len);
    put32(out + 44, head->sum ? head->sum : crc32c(0, body, body_len));
    put32(out + 48, crc32c(0, out, 48));
}

/* Whether the lengths of `items` records fill the body. */
static bool is_records(uint32_t items, const unsigned char *at, size_t len)
{
    for (uint32_t i = 0; i < items; i++) {
        if (len < 4 || get32(at) > len - 4)
            return false;
        size_t step = 4 + (size_t)get32(at);
        at += step;
        len -= step;
    }
    return len == 0;
}

static bool is_body(const struct link_head *h, const unsigned char *body, size_t len)
{
    switch (h->type) {
    case LINK_HELLO:
    case LINK_NACK:
        return len >= 1 && len <= 1 + LINK_MAX_TEXT_BYTES;
    case LINK_DATA:
        return h->items > 0 && is_records(h->items, body, len);
    case LINK_PING:
        return len % LINK_HELD_BYTES == 0;
    case LINK_PONG:
        return len == LINK_SENT_BYTES;
    default:
        return len == 0;
    }
}

int link_head_unpack(struct link_head *head, const void *data, size_t len, const void *body, size_t body_len)
{
    const unsigned char *at = data;
    if (len != LINK_HEAD_BYTES || memcmp(at, magic, sizeof magic) != 0)
        return err_set(ERR_DATA, "no message of a link");
    if (get32(at + 48) != crc32c(0, at, 48))
        return err_set(ERR_DATA, "a message with a damaged head");
    if (at[4] != LINK_VERSION)
        return err_set(ERR_DATA, "a message of version %d of the protocol, where %d is spoken", at[4], LINK_VERSION);
    *head = (struct link_head){.type = at[5],
                               .session = get64(at + 8),
                               .batch = get64(at + 16),
                               .sequence = get64(at + 24),
                               .attempt = get32(at + 32),
                               .items = get32(at + 36),
                               .sum = get32(at + 44)};
    if (head->type < LINK_HELLO || head->type > LINK_END)
        return err_set(ERR_DATA, "a message of type %d, which is unknown", (int)head->type);
    if (body_len > LINK_MAX_BODY_BYTES || get32(at + 40) != body_len || head->sum != crc32c(0, body, body_len))
        return err_set(ERR_DATA, "a message with a damaged body");
    if (!is_body(head, body, body_len))
        return err_set(ERR_DATA, "a message of type %d with a malformed body", (int)head->type);
    return 0;
}

void link_text_pack(struct buf *body, uint8_t first, const char *text)
{
    buf_append(body, &first, 1);
    buf_append(body, text, strnlen(text, LINK_MAX_TEXT_BYTES));
}

void link_record_pack(struct buf *body, const struct record *r)
{
    size_t start = body->len;
    buf_append(body, "\0\0\0\0", 4);
    record_pack(r, body);
    put32(body->data + start, (uint32_t)(body->len - start - 4));
}

void link_record_copy(struct buf *body, const void *packed, size_t len)
{
    unsigned char length[4];
    put32(length, (uint32_t)len);
    buf_append(body, length, sizeof length);
    buf_append(body, packed, len);
}

bool link_record_next(struct link_records *records, const unsigned char **data, size_t *len)
{
    if (records->at == records->end)
        return false;
    *len = get32(records->at);
    *data = records->at + 4;
    records->at += 4 + *len;
    return true;
}

void link_held_pack(struct buf *body, const struct link_held *held)
{
    unsigned char bytes[LINK_HELD_BYTES];
    put64(bytes, held->batch);
    bytes[8] = held->passed;
    buf_append(body, bytes, sizeof bytes);
}

void link_held_unpack(struct link_held *held, const unsigned char *at)
{
    *held = (struct link_held){get64(at), at[8] != 0};
}

void link_sent_pack(unsigned char *at, const struct link_sent *sent)
{
    put64(at, sent->items);
    put64(at + 8, sent->bytes);
}

void link_sent_unpack(struct link_sent *sent, const unsigned char *at)
{
    *sent = (struct link_sent){get64(at), get64(at + 8)};
}
