/*
 * The held-out measure: which drawing is nearest, in the whole set and in a family, and what does not count.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/endpoint.h"
#include "common/image.h"
#include "pipelines/heldout.h"
#include "tests/unit/common/scratch.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 2, BYTES = SIDE * SIDE * 3 };

/* A drawing of one shade. */
static void add(struct drawings *d, const char *caption, const char *family, int shade)
{
    d->list = xrealloc(d->list, (size_t)(d->count + 1) * sizeof *d->list);
    struct drawing *new = &d->list[d->count++];
    *new = (struct drawing){xstrdup(caption), family ? xstrdup(family) : NULL, xmalloc(BYTES)};
    memset(new->rgb, shade, BYTES);
}

/* Two truths, then the rest of the set: a third tone of the family, and a stranger of a shade between. */
static struct drawings real_drawings(void)
{
    struct drawings real = {0};
    add(&real, "a man, light skin tone", "a man", 200);
    add(&real, "a man, dark skin tone", "a man", 40);
    add(&real, "a man, medium skin tone", "a man", 120);
    add(&real, "a robot", NULL, 190);
    return real;
}

static void judge_says(int light, int dark, int nearest, int tone)
{
    struct drawings real = real_drawings(), drawn = {0};
    add(&drawn, "a man, dark skin tone", "a man", dark);
    add(&drawn, "a man, light skin tone", "a man", light);
    add(&drawn, "a caption of no drawing", NULL, 0);
    struct heldout_score s = heldout_judge(&drawn, &real, 2, SIDE);
    assert_true(s.count == 2 && s.families == 2);
    assert_int_equal(s.nearest, nearest);
    assert_int_equal(s.tone, tone);
    assert_true(fabs(s.chance - 2 / 4.0) < 1e-9 && fabs(s.tone_chance - 2 / 3.0) < 1e-9);
    assert_true(fabs(s.error - abs(200 - light) - abs(40 - dark)) < 1e-9);
    drawings_free(&real);
    drawings_free(&drawn);
}

static void the_nearest_drawing_counts(void **state)
{
    (void)state;
    judge_says(200, 40, 2, 2);
    judge_says(210, 60, 2, 2);
    judge_says(194, 40, 1, 2);  /* nearer to the robot, but no other tone is nearer */
    judge_says(150, 40, 1, 1);  /* nearer to the medium tone */
    judge_says(40, 200, 0, 0);  /* the tones exchanged */
    judge_says(195, 120, 1, 1); /* as near to the robot: none is nearer than the true one */
}

static void what_was_not_drawn_does_not_count(void **state)
{
    (void)state;
    struct drawings real = real_drawings(), none = {0};
    struct heldout_score s = heldout_judge(&none, &real, 2, SIDE);
    assert_true(s.count == 0 && s.families == 0 && s.nearest == 0);
    drawings_free(&real);
}

static void put(struct sink *sink, uint64_t id, const char *caption, int shade)
{
    struct record r = {0};
    struct image im;
    struct buf png = {0};
    image_alloc(&im, 5, 3);
    memset(im.rgb, shade, 5 * 3 * 3);
    assert_int_equal(image_encode_png(&im, &png), 0);
    record_set_u64(&r, FIELD_ID, id);
    record_set_string(&r, FIELD_CAPTION, caption, strlen(caption));
    record_set_string(&r, FIELD_IMAGE, shade ? png.data : (const void *)"no picture", shade ? png.len : 10);
    assert_int_equal(sink_put(sink, &r), 0);
    record_free(&r);
    buf_free(&png);
    image_free(&im);
}

static void pictures_are_loaded_once_a_caption(void **state)
{
    (void)state;
    struct sink *sink;
    struct sink_options options = {0};
    struct drawings d = {0};
    char *uri = xasprintf("tar:%s", scratch_path("set.tar"));
    assert_int_equal(sink_open(&sink, uri, &options), 0);
    put(sink, 0, "a woman cook, medium-dark skin tone", 10);
    put(sink, 1, "damaged", 0);
    put(sink, 2, "a cat, asleep", 20);
    put(sink, 3, "a cat, asleep", 30);
    assert_int_equal(sink_finish(sink), 0);
    sink_close(&sink);
    assert_int_equal(drawings_load(&d, uri, SIDE), 0);
    assert_int_equal(d.count, 2);
    assert_string_equal(d.list[0].family, "a woman cook");
    assert_null(d.list[1].family);
    for (int i = 0; i < BYTES; i++)
        assert_true(d.list[0].rgb[i] == 10 && d.list[1].rgb[i] == 20);
    drawings_free(&d);
    assert_int_equal(drawings_load(&d, "tar:/nowhere/at.all", SIDE), -1);
    free(uri);
}

int main(void)
{
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(the_nearest_drawing_counts),
        cmocka_unit_test(what_was_not_drawn_does_not_count),
        cmocka_unit_test(pictures_are_loaded_once_a_caption),
    };
    return cmocka_run_group_tests(TESTS, scratch_make, scratch_remove);
}
