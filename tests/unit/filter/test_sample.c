/* The look by eye: as many as asked for, whatever the order, and any record as likely as another. */
#include "filter/sample.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void offer(struct sample *s, uint64_t id, bool rejected)
{
    struct record r = {0};
    record_set_u64(&r, FIELD_ID, id);
    record_set_key(&r, "key\x1b%d", (int)id);
    record_set_string(&r, FIELD_CAPTION, "two \x1b[2Jdogs", 12);
    if (rejected)
        record_reject(&r, "short: 2 words");
    sample_offer(s, &r);
    record_free(&r);
}

static bool holds(const struct sample_drawn *d, uint64_t id)
{
    for (size_t i = 0; i < d->count; i++)
        if (d->picks[i].id == id)
            return true;
    return false;
}

static void test_order(void **state)
{
    (void)state;
    enum { N = 5000 };
    struct sample up = {.most = 40}, down = {.most = 40};
    size_t low = 0;
    for (uint64_t i = 0; i < N; i++) {
        offer(&up, i, i % 3 == 0);
        offer(&down, N - 1 - i, (N - 1 - i) % 3 == 0);
    }
    assert_int_equal(up.kept.count, 40);
    assert_int_equal(up.rejected.count, 40);
    for (size_t i = 0; i < 40; i++) {
        uint64_t id = up.kept.picks[i].id;
        assert_true(holds(&down.kept, id));
        assert_true(holds(&down.rejected, up.rejected.picks[i].id));
        assert_int_not_equal(id % 3, 0);
        low += id < N / 2;
    }
    assert_in_range(low, 8, 32);
    sample_free(&up);
    sample_free(&down);
}

static void test_few(void **state)
{
    (void)state;
    struct sample s = {.most = 40};
    for (uint64_t i = 0; i < 3; i++)
        offer(&s, i, i == 2);
    assert_int_equal(s.kept.count, 2);
    assert_int_equal(s.rejected.count, 1);
    assert_string_equal(s.kept.picks[1].line, "key 1: 'two [2Jdogs'");
    assert_string_equal(s.rejected.picks[0].line, "key 2: 'two [2Jdogs': short: 2 words");
    sample_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
