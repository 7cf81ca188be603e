/* Decoding ahead: whatever the threads, records come out in order, each with its own picture. */
#include "common/err.h"
#include "encode/ahead.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIDE = 8, RECORDS = 200 };

/* A picture of one colour, every tenth larger than the others, every seventh no picture, every eleventh cut short. */
static void make(struct record *r, uint64_t id)
{
    struct image im;
    struct buf png = {0};
    *r = (struct record){0};
    record_set_u64(r, FIELD_ID, id);
    if (id % 7 == 3)
        return;
    int side = id % 10 == 0 ? 400 : 20;
    image_alloc(&im, side, side);
    memset(im.rgb, (int)id, (size_t)side * (size_t)side * 3);
    assert_int_equal(image_encode_png(&im, &png), 0);
    record_set_string(r, FIELD_IMAGE, png.data, id % 11 == 5 ? png.len / 2 : png.len);
    buf_free(&png);
    image_free(&im);
}

static void check(const struct prepared *p, uint64_t id)
{
    assert_int_equal(p->record.id, id);
    if (id % 7 == 3 || id % 11 == 5) {
        assert_null(p->squares);
        assert_true(record_has(&p->record, FIELD_REJECT));
        return;
    }
    assert_int_equal(p->width, id % 10 == 0 ? 400 : 20);
    for (int i = 0; i < SIDE * SIDE * 3; i++)
        assert_int_equal(p->squares[i], (uint8_t)id);
}

static void test_order(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 20; threads += threads < 4 ? 1 : 8) {
        const struct crops crops = {.views = 1, .side = SIDE};
        struct ahead *a = ahead_new(&crops, threads);
        uint64_t next = 0;
        assert_non_null(a);
        assert_null(ahead_next(a));
        for (uint64_t id = 0; id < RECORDS; id++) {
            struct record r;
            make(&r, id);
            ahead_put(a, &r);
            record_free(&r);
            if (ahead_full(a))
                check(ahead_next(a), next++);
        }
        assert_true(RECORDS - next < 32);
        if (threads != 3) /* else it ends with work left */
            while (next < RECORDS)
                check(ahead_next(a), next++);
        ahead_free(&a);
        assert_null(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
