/*
 * CRC-32C with the processor's instruction where there is one, else eight bytes at a time by table.
 */
#include "common/crc32c.h"
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#define POLYNOMIAL 0x82F63B78u /* bit-reversed */

static uint32_t table[8][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void fill_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        table[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++)
            table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 0xFF];
}

uint32_t crc32c_table(uint32_t crc, const void *data, size_t len)
{
    pthread_once(&table_once, fill_table);
    const uint8_t *p = data;
    crc = ~crc;
    for (; len >= 8; len -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        word ^= crc;
        crc = 0;
        for (int k = 0; k < 8; k++)
            crc ^= table[7 - k][word >> 8 * k & 0xFF];
    }
    for (; len > 0; len--, p++)
        crc = crc >> 8 ^ table[0][(crc ^ *p) & 0xFF];
    return ~crc;
}

#ifdef __x86_64__
#define LANE 1024 /* bytes of each of three streams, whose sums do not wait for each other */
#define CACHE_LINE 64
#define PAST_ONE_LANE 0x170076FA  /* x^(8 LANE - 33) mod the polynomial */
#define PAST_TWO_LANES 0xA51B6135 /* x^(16 LANE - 33) */

/* What a sum becomes as zeros of a lane or two go by. */
__attribute__((target("sse4.2,pclmul"))) static uint64_t skip(uint64_t sum, uint32_t lanes)
{
    const __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)sum), _mm_cvtsi64_si128(lanes), 0);
    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

__attribute__((target("sse4.2"))) static uint64_t add_word(uint64_t sum, const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return _mm_crc32_u64(sum, word);
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t crc32c_sse42(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t sum = ~crc;
    for (; len >= 3 * LANE; len -= 3 * LANE, p += 3 * LANE) {
        uint64_t second = 0, third = 0;
        for (size_t line = 0; line < LANE; line += CACHE_LINE) {
            /* What comes next, in its order, which the processor does not guess from three short streams. */
            for (size_t next = 3 * line; next < 3 * (line + CACHE_LINE); next += CACHE_LINE)
                _mm_prefetch(p + 3 * LANE + next, _MM_HINT_T0);
            for (size_t i = line; i < line + CACHE_LINE; i += 8) {
                sum = add_word(sum, p + i);
                second = add_word(second, p + LANE + i);
                third = add_word(third, p + 2 * LANE + i);
            }
        }
        sum = skip(sum, PAST_TWO_LANES) ^ skip(second, PAST_ONE_LANE) ^ third;
    }
    for (; len >= 8; len -= 8, p += 8)
        sum = add_word(sum, p);
    for (; len > 0; len--, p++)
        sum = _mm_crc32_u8((uint32_t)sum, *p);
    return ~(uint32_t)sum;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    bool fast = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
    return fast ? crc32c_sse42(crc, data, len) : crc32c_table(crc, data, len);
}
#else
uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    return crc32c_table(crc, data, len);
}
#endif
