/*
 * Random numbers as a function of (key, counter): Philox 4x32-10 (Salmon et al., 2011). There is no state: a draw is
 * named by what it is for, so a resumed run, another thread count or a GPU draws the same. Inline, so that kernels of
 * any back end use it.
 */
#ifndef ATELIER_COMMON_RANDOM_H
#define ATELIER_COMMON_RANDOM_H

#include <math.h>
#include <stdint.h>

#ifndef RANDOM_INLINE /* a back end may need more of a function */
#define RANDOM_INLINE static inline
#endif

struct random4 {
    uint32_t v[4];
};

/* Four words for counter (hi, lo) under a 64-bit key. */
RANDOM_INLINE struct random4 random_philox(uint64_t key, uint64_t hi, uint64_t lo)
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    struct random4 c = {{(uint32_t)lo, (uint32_t)(lo >> 32), (uint32_t)hi, (uint32_t)(hi >> 32)}};
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c.v[0], p1 = (uint64_t)0xCD9E8D57u * c.v[2];
        struct random4 n = {
            {(uint32_t)(p1 >> 32) ^ c.v[1] ^ k0, (uint32_t)p1, (uint32_t)(p0 >> 32) ^ c.v[3] ^ k1, (uint32_t)p0}};
        c = n;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c;
}

/* Uniform in (0, 1), never 0 or 1: 23 bits and a half. */
RANDOM_INLINE float random_unit(uint32_t word)
{
    return ((float)(word >> 9) + 0.5f) * (1.0f / 8388608.0f);
}

/* The streams of one seed; the second key word, so that no two uses share draws. */
enum random_stream {
    RANDOM_INIT = 1, /* weights: hi = parameter index, lo = element / 4 */
    RANDOM_GUMBEL,   /* hi = picture of the run, lo = element / 4 */
    RANDOM_AUGMENT,  /* hi = sample position in training order, lo = draw */
    RANDOM_ORDER,    /* the permutation of training order */
    RANDOM_DROPOUT,  /* BPE dropout: hi = sample position, lo = draw */
    RANDOM_SAMPLE,   /* sampler: hi = candidate, lo = position */
    RANDOM_KMEANS,
    RANDOM_CAPTION, /* leaving captions out: hi = sample position */
    RANDOM_VIEW,    /* encode --views: hi = record id, lo = draw */
    RANDOM_UPDATE,  /* rounding of weights; the seed is step << 16 | parameter */
    RANDOM_AVERAGE, /* rounding of averages, likewise */
};

static inline uint64_t random_key(uint64_t seed, enum random_stream stream)
{
    struct random4 r = random_philox(seed, 0x61746c72u, (uint64_t)stream);
    return (uint64_t)r.v[0] << 32 | r.v[1];
}

/* A uniform in (0, 1) named by (key, hi, lo). */
static inline float random_uniform(uint64_t key, uint64_t hi, uint64_t lo)
{
    return random_unit(random_philox(key, hi, lo).v[0]);
}

/* Two standard normals from two words (Box-Muller). */
static inline void random_normal2(uint32_t a, uint32_t b, float out[2])
{
    float r = sqrtf(-2.0f * logf(random_unit(a))), t = 6.28318530717958647692f * random_unit(b);
    out[0] = r * cosf(t);
    out[1] = r * sinf(t);
}

/* A seeded permutation of 0 .. n-1 without a table: a four-round Feistel network with cycle walking. */
uint64_t random_permute(uint64_t n, uint64_t key, uint64_t i);

#endif
