/*
 * A value of the store, little-endian:
 *   u32  crc32c of the id (u64) and of all bytes that follow
 *   u8   bits of a code: 0 (no codes), 13, 16 or 32; plus 128 for a reject
 *   u32  number of codes
 *        the codes, packed without gaps, the first in the lowest bits; the last byte is filled up with zeros
 *        the record's other fields but for its id, as a msgpack map (record_pack)
 * 1,024 codes of 13 bits take 1,664 bytes, and two such values with their captions a page (store_shard.c).
 */
#include "common/crc32c.h"
#include "common/err.h"
#include "common/store_private.h"
#include <inttypes.h>
#include <string.h>

#define HEADER_BYTES 9
#define REJECT_FLAG 128

static unsigned code_bits(const struct ints *codes)
{
    uint32_t all = 0;
    for (size_t i = 0; i < codes->len; i++)
        all |= (uint32_t)codes->data[i];
    return all < 1u << 13 ? 13 : all < 1u << 16 ? 16 : 32;
}

static void pack_codes(const struct ints *codes, unsigned bits, struct buf *out)
{
    uint64_t pending = 0;
    unsigned held = 0;
    buf_reserve(out, codes->len * bits / 8 + 8);
    for (size_t i = 0; i < codes->len; i++) {
        pending |= (uint64_t)(uint32_t)codes->data[i] << held;
        for (held += bits; held >= 8; held -= 8) {
            out->data[out->len++] = (unsigned char)pending;
            pending >>= 8;
        }
    }
    if (held > 0)
        out->data[out->len++] = (unsigned char)pending;
}

static void unpack_codes(const unsigned char *from, unsigned bits, size_t count, int32_t *codes)
{
    uint64_t pending = 0;
    unsigned held = 0;
    for (size_t i = 0; i < count; i++) {
        for (; held < bits; held += 8)
            pending |= (uint64_t)*from++ << held;
        codes[i] = (int32_t)(pending & ((1ull << bits) - 1));
        pending >>= bits;
        held -= bits;
    }
}

static uint32_t checksum(uint64_t id, const void *data, size_t len)
{
    return crc32c(crc32c(0, &id, sizeof id), data, len);
}

void store_value_pack(const struct record *r, struct buf *out)
{
    const struct ints *codes = &r->codes;
    struct record rest = *r; /* a view: other fields present, the same buffers */
    rest.present &= ~(1u << FIELD_ID | 1u << FIELD_CODES);
    if (record_has(r, FIELD_REJECT)) {
        rest.present &= 1u << FIELD_KEY | 1u << FIELD_REJECT;
        rest.unknown_count = 0;
        rest.unknown.len = 0;
    }
    size_t start = out->len;
    bool has_codes = record_has(r, FIELD_CODES) && !record_has(r, FIELD_REJECT);
    unsigned bits = has_codes ? code_bits(codes) : 0;
    uint32_t count = has_codes ? (uint32_t)codes->len : 0;
    unsigned char head[HEADER_BYTES] = {[4] = (unsigned char)(bits | (record_has(r, FIELD_REJECT) ? REJECT_FLAG : 0))};
    memcpy(head + 5, &count, sizeof count);
    buf_append(out, head, sizeof head);
    if (has_codes)
        pack_codes(codes, bits, out);
    record_pack(&rest, out);
    uint32_t crc = checksum(r->id, out->data + start + sizeof crc, out->len - start - sizeof crc);
    memcpy(out->data + start, &crc, sizeof crc);
}

bool store_value_is_reject(const void *data, size_t len)
{
    return len >= HEADER_BYTES && ((const unsigned char *)data)[4] & REJECT_FLAG;
}

int store_value_unpack(uint64_t id, const void *data, size_t len, struct record *r)
{
    const unsigned char *p = data;
    uint32_t crc, count;
    if (len < HEADER_BYTES)
        return err_set(ERR_DATA, "id %" PRIu64 ": damaged: %zu bytes are no value", id, len);
    memcpy(&crc, p, sizeof crc);
    memcpy(&count, p + 5, sizeof count);
    if (checksum(id, p + sizeof crc, len - sizeof crc) != crc)
        return err_set(ERR_DATA, "id %" PRIu64 ": damaged: its checksum is wrong", id);
    unsigned bits = p[4] & ~REJECT_FLAG;
    uint64_t code_bytes = ((uint64_t)count * bits + 7) / 8;
    if ((bits != 0 && bits != 13 && bits != 16 && bits != 32) || count > record_fields[FIELD_CODES].limit ||
        code_bytes > len - HEADER_BYTES)
        return err_set(ERR_DATA, "id %" PRIu64 ": %u codes of %u bits in %zu bytes: not a value of this version", id,
                       count, bits, len);
    if (record_unpack(r, p + HEADER_BYTES + code_bytes, len - HEADER_BYTES - code_bytes) < 0)
        return err_wrap("id %" PRIu64, id);
    record_set_u64(r, FIELD_ID, id);
    if (bits == 0)
        return 0;
    if (r->codes.cap < count) {
        r->codes.data = xrealloc(r->codes.data, count * sizeof *r->codes.data);
        r->codes.cap = count;
    }
    unpack_codes(p + HEADER_BYTES, bits, count, r->codes.data);
    r->codes.len = count;
    r->present |= 1u << FIELD_CODES;
    return 0;
}
