/*
 * Exact duplicates (dedup.h). The set is many small open-addressed tables, so that one that grows needs room for itself
 * alone twice, and grows by a quarter: at 250 million records memory matters more than the copying.
 */
#include "filter/dedup.h"
#include "common/err.h"
#include "common/mem.h"
#include <stdlib.h>
#include <string.h>

#define PARTS 256
#define FIRST_SLOTS 64

struct entry {
    struct dedup_hash hash; /* zero: free */
    uint64_t id;
};

struct part {
    struct entry *slots;
    size_t size, count;
};

struct dedup {
    struct part parts[PARTS];
};

/* Odd constants without structure (the fraction of pi, as in Blowfish). */
static const uint64_t secrets[] = {0x243F6A8885A308D3u, 0x13198A2E03707345u, 0xA4093822299F31D1u, 0x082EFA98EC4E6C89u};

/* Both halves of a product, folded. */
static inline uint64_t mix(uint64_t x, uint64_t y)
{
    unsigned __int128 product = (unsigned __int128)x * y;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* What is added keeps the state where a factor happens to be zero. */
static inline void absorb(struct dedup_hash *h, uint64_t x, uint64_t y)
{
    uint64_t a = h->a, b = h->b;
    h->a = mix(a ^ x ^ secrets[0], y ^ secrets[1]) + (b << 32 | b >> 32);
    h->b = mix(b ^ y ^ secrets[2], x ^ secrets[3]) + (a << 32 | a >> 32);
}

struct dedup_hash dedup_hash(const struct iovec *parts, size_t count)
{
    struct dedup_hash h = {secrets[1], secrets[3]};
    uint64_t words[2];
    for (size_t i = 0; i < count; i++) {
        const unsigned char *p = parts[i].iov_base;
        size_t left = parts[i].iov_len;
        absorb(&h, left, count);
        for (; left >= sizeof words; left -= sizeof words, p += sizeof words) {
            memcpy(words, p, sizeof words);
            absorb(&h, words[0], words[1]);
        }
        words[0] = words[1] = 0;
        if (left > 0)
            memcpy(words, p, left);
        absorb(&h, words[0], words[1]);
    }
    absorb(&h, secrets[0], secrets[2]);
    h.b += !(h.a | h.b); /* zero is taken */
    return h;
}

struct dedup *dedup_new(void)
{
    return xcalloc(1, sizeof(struct dedup));
}

void dedup_free(struct dedup **d)
{
    for (size_t i = 0; *d && i < PARTS; i++)
        free((*d)->parts[i].slots);
    free(*d);
    *d = NULL;
}

size_t dedup_bytes(const struct dedup *d)
{
    size_t bytes = sizeof *d;
    for (size_t i = 0; i < PARTS; i++)
        bytes += d->parts[i].size * sizeof(struct entry);
    return bytes;
}

/* The hash's slot, or the free one where it belongs. */
static struct entry *find(const struct part *p, struct dedup_hash hash)
{
    size_t i = (size_t)((unsigned __int128)hash.b * p->size >> 64);
    for (;; i = i + 1 < p->size ? i + 1 : 0) {
        struct entry *e = &p->slots[i];
        if ((e->hash.a == hash.a && e->hash.b == hash.b) || !(e->hash.a | e->hash.b))
            return e;
    }
}

static int grow(struct part *p)
{
    struct part larger = {.size = p->size ? p->size + p->size / 4 : FIRST_SLOTS, .count = p->count};
    larger.slots = calloc(larger.size, sizeof *larger.slots);
    if (!larger.slots)
        return err_set(ERR_AGAIN, "--dedup: no memory for more hashes of what was kept: filter in parts, or without");
    for (size_t i = 0; i < p->size; i++)
        if (p->slots[i].hash.a | p->slots[i].hash.b)
            *find(&larger, p->slots[i].hash) = p->slots[i];
    free(p->slots);
    *p = larger;
    return 0;
}

int dedup_add(struct dedup *d, struct dedup_hash hash, uint64_t id, uint64_t *first)
{
    struct part *p = &d->parts[hash.a >> 56];
    if (p->count >= p->size / 5 * 4 && grow(p) < 0) /* four fifths full at most */
        return -1;
    struct entry *e = find(p, hash);
    if (e->hash.a | e->hash.b) {
        *first = e->id;
        return 0;
    }
    *e = (struct entry){hash, id};
    p->count++;
    return 1;
}
