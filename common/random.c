/*
 * The seeded permutation (random.h): a Feistel network over the next even number of bits that holds n, applied again
 * until the value falls below n (at most four times on average, as the network's range is less than 4n).
 */
#include "common/random.h"

#define ROUNDS 4

uint64_t random_permute(uint64_t n, uint64_t key, uint64_t i)
{
    unsigned half = 1;
    while (half < 32 && n > 1ull << 2 * half)
        half++;
    uint64_t mask = (1ull << half) - 1;
    do {
        uint64_t left = i >> half, right = i & mask;
        for (uint64_t round = 0; round < ROUNDS; round++) {
            uint64_t mixed = left ^ (random_philox(key, round, right).v[0] & mask);
            left = right;
            right = mixed;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}
