/* Random numbers: Philox against published answers, uniforms and normals, the permutation. */
#include "common/random.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Known answers of Random123 for philox4x32-10. */
static void test_philox_known_answers(void **state)
{
    (void)state;
    static const struct {
        uint64_t key, hi, lo;
        uint32_t v[4];
    } answers[] = {
        {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {~0ull, ~0ull, ~0ull, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct random4 r = random_philox(answers[i].key, answers[i].hi, answers[i].lo);
        assert_memory_equal(r.v, answers[i].v, sizeof r.v);
    }
}

static void test_units_stay_inside(void **state)
{
    (void)state;
    assert_true(random_unit(0) > 0.0f);
    assert_true(random_unit(UINT32_MAX) < 1.0f);
}

static void test_moments(void **state)
{
    (void)state;
    enum { N = 100000 };
    double mean = 0, normal = 0, square = 0;
    uint64_t key = random_key(7, RANDOM_INIT);
    for (uint64_t i = 0; i < N; i++) {
        struct random4 r = random_philox(key, 3, i);
        float z[2];
        random_normal2(r.v[0], r.v[1], z);
        mean += random_unit(r.v[2]);
        normal += (z[0] + z[1]) / 2;
        square += (z[0] * z[0] + z[1] * z[1]) / 2;
    }
    assert_true(fabs(mean / N - 0.5) < 0.005);
    assert_true(fabs(normal / N) < 0.012);
    assert_true(fabs(square / N - 1) < 0.02);
}

static void check_permutation(uint64_t n, uint64_t key)
{
    char *seen = calloc(n, 1);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t p = random_permute(n, key, i);
        assert_true(p < n);
        assert_false(seen[p]);
        seen[p] = 1;
    }
    free(seen);
}

static void test_permutation_small(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 600; n++)
        check_permutation(n, n * 17);
    for (uint64_t n = 601; n <= 2000; n += 61)
        check_permutation(n, 5);
}

static void test_permutation_large(void **state)
{
    (void)state;
    check_permutation(300007, 11);
    check_permutation(262144, 12);
    check_permutation(262145, 13);
}

/* Too large for a table: values stay in range, a few thousand of them differ, and they spread over both halves. */
static void test_permutation_huge(void **state)
{
    (void)state;
    enum { N = 2000 };
    static const uint64_t sizes[] = {250000000, 1ull << 40, (1ull << 62) + 1, UINT64_MAX};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        uint64_t seen[N], upper = 0;
        for (uint64_t i = 0; i < N; i++) {
            seen[i] = random_permute(sizes[s], 3, i);
            assert_true(seen[i] < sizes[s]);
            upper += seen[i] > sizes[s] / 2;
            for (uint64_t j = 0; j < i; j++)
                assert_true(seen[i] != seen[j]);
        }
        assert_in_range(upper, N * 45 / 100, N * 55 / 100);
    }
}

/* Another key is another order, neighbours are torn apart, and no position clings to its place. */
static void test_permutation_is_keyed(void **state)
{
    (void)state;
    enum { N = 1000 };
    int same = 0, fixed = 0, neighbours = 0;
    for (uint64_t i = 0; i < N; i++) {
        uint64_t p = random_permute(N, 1, i);
        same += p == random_permute(N, 2, i);
        fixed += p == i;
        neighbours += random_permute(N, 1, (i + 1) % N) == p + 1;
    }
    assert_true(same < 10);
    assert_true(fixed < 10);
    assert_true(neighbours < 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_units_stay_inside),
        cmocka_unit_test(test_moments),
        cmocka_unit_test(test_permutation_small),
        cmocka_unit_test(test_permutation_large),
        cmocka_unit_test(test_permutation_huge),
        cmocka_unit_test(test_permutation_is_keyed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
