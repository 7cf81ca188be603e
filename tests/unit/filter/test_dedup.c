/* Exact duplicates: what is one, which id had it first, how the set grows, and that hashes spread. */
#include "filter/dedup.h"
#include "filter/filter.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static struct dedup_hash hash_of(const void *a, size_t a_len, const void *b, size_t b_len)
{
    const struct iovec parts[] = {{(void *)a, a_len}, {(void *)b, b_len}};
    return dedup_hash(parts, b ? 2 : 1);
}

static void test_growth(void **state)
{
    (void)state;
    enum { N = 300000 };
    struct dedup *d = dedup_new();
    uint64_t first = 0;
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < N; i++) {
            struct dedup_hash h = hash_of(&i, sizeof i, NULL, 0);
            first = UINT64_MAX;
            assert_int_equal(dedup_add(d, h, i + (uint64_t)round * N, &first), round == 0);
            assert_int_equal(first, round == 0 ? UINT64_MAX : i);
        }
    }
    assert_int_equal(dedup_add(d, (struct dedup_hash){1, 5}, 1, &first), 1);
    assert_int_equal(dedup_add(d, (struct dedup_hash){2, 5}, 2, &first), 1);
    assert_int_equal(dedup_add(d, (struct dedup_hash){2, 6}, 3, &first), 1);
    assert_int_equal(dedup_add(d, (struct dedup_hash){2, 5}, 4, &first), 0);
    assert_int_equal(first, 2);
    assert_in_range(dedup_bytes(d), (size_t)28 * N, (size_t)40 * N);
    dedup_free(&d);
    assert_null(d);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Pairs of equal values. */
static size_t collisions(uint64_t *values, size_t n)
{
    size_t same = 0;
    qsort(values, n, sizeof *values, compare);
    for (size_t i = 1; i < n; i++)
        same += values[i] == values[i - 1];
    return same;
}

/* All inputs that differ from one in one or two bits: any 32 bits of the hashes collide as chance has it, 64 never. */
static void test_spread(void **state)
{
    (void)state;
    enum { BYTES = 49, BITS = 8 * BYTES, N = BITS * (BITS - 1) / 2 };
    static const int shifts[] = {0, 16, 32};
    unsigned char text[BYTES] = "a caption of which one or two bits are changed";
    struct dedup_hash *hashes = malloc(N * sizeof *hashes);
    uint64_t *values = malloc(N * sizeof *values);
    size_t n = 0;
    for (int i = 0; i < BITS; i++) {
        for (int j = i + 1; j < BITS; j++) {
            text[i / 8] ^= (unsigned char)(1 << i % 8);
            text[j / 8] ^= (unsigned char)(1 << j % 8);
            hashes[n++] = hash_of(text, 20, text + 20, BYTES - 20);
            text[i / 8] ^= (unsigned char)(1 << i % 8);
            text[j / 8] ^= (unsigned char)(1 << j % 8);
        }
    }
    double expected = (double)N * N / 2 / 4294967296.0;
    for (int lane = 0; lane < 2; lane++) {
        for (size_t k = 0; k < COUNT(shifts); k++) {
            for (size_t i = 0; i < n; i++)
                values[i] = (lane ? hashes[i].b : hashes[i].a) >> shifts[k] & UINT32_MAX;
            assert_true((double)collisions(values, n) < 3 * expected + 6);
        }
        for (size_t i = 0; i < n; i++)
            values[i] = lane ? hashes[i].b : hashes[i].a;
        assert_int_equal(collisions(values, n), 0);
    }
    free(hashes);
    free(values);
}

static bool differ(struct dedup_hash x, struct dedup_hash y)
{
    return x.a != y.a && x.b != y.b;
}

static void test_parts(void **state)
{
    (void)state;
    static const char zeros[64] = "";
    struct dedup_hash seen[COUNT(zeros)];
    assert_true(differ(hash_of("ab", 2, "c", 1), hash_of("a", 1, "bc", 2)));
    assert_true(differ(hash_of("ab", 2, "", 0), hash_of("ab", 2, NULL, 0)));
    assert_false(differ(hash_of("ab", 2, "c", 1), hash_of("ab", 2, "c", 1)));
    for (size_t i = 0; i < COUNT(seen); i++) {
        seen[i] = hash_of(zeros, i, zeros, 0);
        for (size_t k = 0; k < i; k++)
            assert_true(differ(seen[i], seen[k]));
    }
}

/* What was rejected for another reason is nothing to be a duplicate of. */
static void test_rule(void **state)
{
    (void)state;
    static const struct {
        const char *caption, *reason;
    } table[] = {
        {"two dogs run", "short: 3 words"},
        {"two dogs run on the beach", ""},
        {"two cats run on the beach", ""},
        {"two  dogs run on&#32;the beach", "duplicate: of 1"},
        {"Two dogs run on the beach", ""},
        {"two dogs run", "short: 3 words"},
        {"two cats run on the beach", "duplicate: of 2"},
    };
    struct filter *f;
    struct record r = {0};
    struct filter_options o = filter_defaults;
    o.dedup = true;
    o.min_words = 4;
    assert_int_equal(filter_open(&f, &o), 0);
    for (size_t i = 0; i < COUNT(table); i++) {
        struct buf explained = {0};
        record_clear(&r);
        record_set_u64(&r, FIELD_ID, i);
        record_set_string(&r, FIELD_CAPTION, table[i].caption, strlen(table[i].caption));
        assert_int_equal(i % 2 ? filter_explain(f, &r, &explained) : filter_record(f, &r), 0);
        assert_string_equal(record_has(&r, FIELD_REJECT) ? buf_string(&r.reject) : "", table[i].reason);
        buf_free(&explained);
    }
    record_free(&r);
    filter_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_growth),
        cmocka_unit_test(test_spread),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
