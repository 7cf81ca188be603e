/*
 * Random crops: the same names give the same crop; crops lie within the picture, whatever its shape; and they show the
 * part of it that MODELS.md says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/mem.h"
#include "models/augment.h"
#include <string.h>

enum { SIZE = 16, DRAWS = 200 };
static const enum augment KINDS[] = {AUGMENT_NONE, AUGMENT_DVAE, AUGMENT_PRIOR};

/* Red rises to the right and green downwards, over the whole picture, in steps of one; blue is 77. */
static struct image ramp(int width, int height)
{
    struct image im;
    image_alloc(&im, width, height);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            uint8_t *p = im.rgb + ((size_t)y * width + x) * 3;
            p[0] = (uint8_t)(width > 1 ? 255 * x / (width - 1) : 0);
            p[1] = (uint8_t)(height > 1 ? 255 * y / (height - 1) : 0);
            p[2] = 77;
        }
    return im;
}

static void the_same_names_give_the_same_crop(void **state)
{
    (void)state;
    struct image in = ramp(90, 60);
    for (int kind = 0; kind < 3; kind++) {
        int different = 0;
        for (uint64_t i = 0; i < 20; i++) {
            struct image a, b, c;
            augment(&in, KINDS[kind], SIZE, 5, i, &a);
            augment(&in, KINDS[kind], SIZE, 5, i, &b);
            augment(&in, KINDS[kind], SIZE, 6, i, &c);
            assert_memory_equal(a.rgb, b.rgb, SIZE * SIZE * 3);
            different += memcmp(a.rgb, c.rgb, SIZE * SIZE * 3) != 0;
            image_free(&a);
            image_free(&b);
            image_free(&c);
        }
        if (KINDS[kind] == AUGMENT_NONE)
            assert_int_equal(different, 0);
        else
            assert_true(different > 10);
    }
    image_free(&in);
}

/* The picture ends where its own memory ends, so that a sanitizer sees a crop that reaches out of it. Blue is the same
 * everywhere, so an average of anything else shows. */
static void crops_lie_within_the_picture(void **state)
{
    (void)state;
    static const int SHAPES[][2] = {{1, 1},   {1, 50},   {50, 1},  {15, 15}, {16, 16}, {17, 16}, {16, 17},
                                    {18, 18}, {24, 300}, {300, 7}, {64, 64}, {31, 33}, {200, 90}};
    for (size_t shape = 0; shape < sizeof SHAPES / sizeof *SHAPES; shape++) {
        struct image in = ramp(SHAPES[shape][0], SHAPES[shape][1]);
        for (int kind = 0; kind < 3; kind++)
            for (uint64_t i = 0; i < DRAWS; i++) {
                struct image out;
                augment(&in, KINDS[kind], SIZE, 1, i, &out);
                assert_true(out.width == SIZE && out.height == SIZE);
                for (int p = 0; p < SIZE * SIZE; p++)
                    assert_int_equal(out.rgb[p * 3 + 2], 77);
                image_free(&out);
            }
        image_free(&in);
    }
}

/* The share of the short side that a crop shows, and whether it is mirrored. */
static double shown(const struct image *crop, bool *mirrored)
{
    int first = crop->rgb[1], last = crop->rgb[((size_t)SIZE * SIZE - 1) * 3 + 1];
    *mirrored = crop->rgb[0] > crop->rgb[(SIZE - 1) * 3];
    return (double)(last - first) / 255 * SIZE / (SIZE - 1);
}

static void crops_show_as_much_as_they_should(void **state)
{
    (void)state;
    static const double LOW[] = {1, 8 / 12.0, 8 / 9.0}, HIGH[] = {1, 8 / 9.0, 1};
    struct image in = ramp(512, 256);
    for (int kind = 0; kind < 3; kind++) {
        int flips = 0, left = 255, right = 0;
        for (uint64_t i = 0; i < DRAWS; i++) {
            struct image out;
            bool mirrored;
            augment(&in, KINDS[kind], SIZE, 3, i, &out);
            double share = shown(&out, &mirrored);
            assert_true(share > LOW[kind] - 0.06 && share < HIGH[kind] + 0.06);
            flips += mirrored;
            int middle = (out.rgb[0] + out.rgb[(SIZE - 1) * 3]) / 2;
            left = middle < left ? middle : left;
            right = middle > right ? middle : right;
            image_free(&out);
        }
        if (KINDS[kind] == AUGMENT_DVAE) {
            assert_true(flips > DRAWS / 3 && flips < 2 * DRAWS / 3);
            assert_true(left < 75 && right > 180); /* from one end of the long side to the other */
        } else {
            assert_int_equal(flips, 0);
            assert_true(left > 100 && right < 155); /* near the centre */
        }
    }
    image_free(&in);
}

int main(void)
{
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(the_same_names_give_the_same_crop),
        cmocka_unit_test(crops_lie_within_the_picture),
        cmocka_unit_test(crops_show_as_much_as_they_should),
    };
    return cmocka_run_group_tests(TESTS, NULL, NULL);
}
