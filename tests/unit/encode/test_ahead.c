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
        struct ahead *a = ahead_new(&crops, threads, threads);
        uint64_t next = 0;
        assert_non_null(a);
        assert_null(ahead_at(a, 0));
        for (uint64_t id = 0; id < RECORDS; id++) {
            struct record r;
            make(&r, id);
            ahead_put(a, &r);
            record_free(&r);
            if (ahead_full(a)) {
                check(ahead_at(a, 1), next + 1);
                check(ahead_at(a, 0), next++);
                ahead_drop(a);
            }
        }
        assert_true(RECORDS - next < 80);
        if (threads != 3) /* else it ends with work left */
            for (; next < RECORDS; ahead_drop(a))
                check(ahead_at(a, 0), next++);
        ahead_free(&a);
        assert_null(a);
    }
}

/* Records that nobody decodes, and marks, keep their places. */
static void test_places(void **state)
{
    (void)state;
    const struct crops crops = {.views = 1, .side = SIDE};
    struct ahead *a = ahead_new(&crops, 2, 1);
    for (uint64_t id = 0; id < 60; id += 3) {
        struct record r;
        make(&r, id);
        ahead_put(a, &r);
        record_free(&r);
        make(&r, id + 1);
        record_reject(&r, "language: fr");
        ahead_put_passed(a, &r);
        record_free(&r);
        ahead_put_mark(a, id + 2);
        assert_int_equal(ahead_at(a, 0)->kind, PREPARED_PICTURE);
        check(ahead_at(a, 0), id);
        assert_int_equal(ahead_at(a, 1)->kind, PREPARED_PASSED);
        assert_int_equal(ahead_at(a, 1)->record.id, id + 1);
        assert_null(ahead_at(a, 1)->squares);
        assert_int_equal(ahead_at(a, 2)->kind, PREPARED_MARK);
        assert_int_equal(ahead_at(a, 2)->ticket, id + 2);
        assert_null(ahead_at(a, 3));
        for (int i = 0; i < 3; i++)
            ahead_drop(a);
        for (uint64_t i = 0; i < id; i++) { /* the queue goes round while nothing is to be decoded */
            ahead_put_mark(a, i);
            ahead_drop(a);
        }
    }
    ahead_free(&a);
}

/* Crops that take much memory wait in smaller numbers. */
static void test_memory(void **state)
{
    (void)state;
    const struct crops crops = {.views = 100, .side = 1000};
    struct ahead *a = ahead_new(&crops, 8, 32);
    int room = 0;
    for (struct record r = {0}; !ahead_full(a); room++) {
        ahead_put(a, &r);
        record_free(&r);
    }
    assert_in_range(room, 3, 4);
    ahead_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
