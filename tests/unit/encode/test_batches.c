/* Batches: whatever their size and that of the records, each record gets its own pictures' codes, in order. */
#include "common/err.h"
#include "common/mem.h"
#include "encode/batches.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIDE = 8, CELLS = 16, VALUES = SIDE * SIDE * 3, RECORDS = 60 };

/* A record's picture is noise of its id; every fifth has none, every seventh was rejected before, every ninth is a
 * mark. */
static enum prepared_kind kind_of(uint64_t id)
{
    return id % 9 == 8 ? PREPARED_MARK : id % 7 == 6 ? PREPARED_PASSED : PREPARED_PICTURE;
}

static void put(struct ahead *a, uint64_t id)
{
    struct record r = {0};
    struct image im;
    struct buf png = {0};
    if (kind_of(id) == PREPARED_MARK) {
        ahead_put_mark(a, id);
        return;
    }
    record_set_u64(&r, FIELD_ID, id);
    image_alloc(&im, SIDE, SIDE);
    for (uint32_t i = 0; i < VALUES; i++)
        im.rgb[i] = (uint8_t)((id * VALUES + i) * 2654435761u >> 11);
    assert_int_equal(image_encode_png(&im, &png), 0);
    if (id % 5 != 4)
        record_set_string(&r, FIELD_IMAGE, png.data, png.len);
    if (kind_of(id) == PREPARED_PASSED)
        ahead_put_passed(a, &r);
    else
        ahead_put(a, &r);
    buf_free(&png);
    image_free(&im);
    record_free(&r);
}

struct check {
    struct dvae *alone;
    int views;
    uint64_t next;
    uint64_t fails_at;
};

static int take(void *self, struct prepared *p, const int32_t *codes, uint8_t *seen)
{
    struct check *c = self;
    uint64_t id = c->next++;
    assert_int_equal(p->kind, kind_of(id));
    if (id == c->fails_at)
        return -1;
    if (p->kind == PREPARED_MARK) {
        assert_int_equal(p->ticket, id);
        return 0;
    }
    assert_int_equal(p->record.id, id);
    if (p->kind == PREPARED_PASSED || id % 5 == 4) {
        assert_null(codes);
        assert_null(seen);
        return 0;
    }
    uint8_t decoded[VALUES];
    for (int v = 0; v < c->views; v++) {
        int32_t expected[CELLS];
        dvae_encode(c->alone, p->squares + (size_t)v * VALUES, 1, expected);
        assert_memory_equal(codes + (size_t)v * CELLS, expected, sizeof expected);
    }
    dvae_decode(c->alone, codes + (size_t)(c->views - 1) * CELLS, 1, decoded);
    assert_memory_equal(seen, decoded, sizeof decoded);
    return 0;
}

static struct dvae *open_dvae(const struct kernels *k, int batch)
{
    const struct dvae_config config = {.hidden = 4, .init = 4, .groups = 2, .blocks = 1, .vocab = 40};
    struct dvae *d;
    assert_int_equal(dvae_new(&d, k, &config, SIDE, batch, false), 0);
    params_init(dvae_params(d), 3);
    return d;
}

/* A table that likes batches; threads, views, squares a batch, the record whose taker fails. */
static void run(const struct kernels *k, int threads, int views, int batch, uint64_t fails_at)
{
    struct check check = {.alone = open_dvae(kernels_plain(), 1), .views = views, .fails_at = fails_at};
    const struct batches_taker taker = {take, &check};
    const struct crops crops = {.views = views, .side = SIDE};
    struct dvae *d = open_dvae(k, batch);
    struct ahead *a = ahead_new(&crops, threads, batch);
    struct batches *b = batches_new(d, a, views, true, &taker);
    int rc = 0;
    for (uint64_t id = 0; id < RECORDS && rc == 0; id++) {
        put(a, id);
        while (rc == 0 && ahead_full(a))
            rc = batches_step(b);
        if (rc == 0 && id == RECORDS / 2) { /* nothing comes at present */
            rc = batches_flush(b);
            assert_true(rc == -1 || check.next == id + 1);
        }
    }
    if (rc == 0)
        rc = batches_flush(b);
    assert_int_equal(rc, fails_at < RECORDS ? -1 : 0);
    assert_int_equal(check.next, fails_at < RECORDS ? fails_at + 1 : RECORDS);
    batches_free(&b);
    ahead_free(&a);
    dvae_free(&d);
    dvae_free(&check.alone);
}

static void test_batches(void **state)
{
    (void)state;
    struct kernels k = *kernels_plain();
    k.batches = true;
    for (int views = 1; views <= 9; views += 2)
        for (int batch = 1; batch <= 8; batch++)
            run(&k, 1 + batch % 3, views, batch, RECORDS);
    run(kernels_plain(), 2, 2, 1, RECORDS);
}

static void test_failure(void **state)
{
    (void)state;
    for (uint64_t id = 0; id < RECORDS; id += 7)
        run(kernels_plain(), 2, 2, 3, id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_batches), cmocka_unit_test(test_failure)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
