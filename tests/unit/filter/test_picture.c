/* Checks of encoded pictures: whole ones pass, every cut and forged size is found. */
#include "common/image.h"
#include "filter/picture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct picture_limits limits = {
    .aspect_low = 0.5, .aspect_high = 2, .min_side = 1, .max_pixels = IMAGE_MAX_PIXELS};

static void draw(int width, int height, struct buf *jpeg, struct buf *png)
{
    struct image im;
    image_alloc(&im, width, height);
    for (int i = 0; i < width * height * 3; i++)
        im.rgb[i] = (uint8_t)(i * 2654435761u >> 24);
    assert_int_equal(image_encode_jpeg(&im, 90, jpeg), 0);
    assert_int_equal(image_encode_png(&im, png), 0);
    image_free(&im);
}

static bool check(const void *data, size_t len, const struct picture_limits *l, char *reason)
{
    int width, height;
    /* At the end of its own block, so that a sanitizer sees a byte too far. */
    void *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, data, len);
    bool good = picture_check(copy, len, l, &width, &height, reason);
    free(copy);
    return good;
}

static void test_limits(void **state)
{
    (void)state;
    struct buf jpeg = {0}, png = {0};
    char reason[PICTURE_REASON];
    int width, height;
    draw(40, 20, &jpeg, &png);
    struct picture_limits l = limits;
    assert_true(picture_check(jpeg.data, jpeg.len, &l, &width, &height, reason));
    assert_int_equal(width, 40);
    assert_int_equal(height, 20);
    assert_true(picture_check(png.data, png.len, &l, &width, &height, reason));
    l.decode = true;
    assert_true(check(jpeg.data, jpeg.len, &l, reason));
    assert_true(check(png.data, png.len, &l, reason));
    l.aspect_high = 1.99;
    assert_false(check(png.data, png.len, &l, reason));
    assert_string_equal(reason, "aspect: 40x20");
    l = limits;
    l.min_side = 21;
    assert_false(check(png.data, png.len, &l, reason));
    assert_string_equal(reason, "image: 40x20, too small");
    l = limits;
    l.max_pixels = 799;
    assert_false(check(jpeg.data, jpeg.len, &l, reason));
    assert_string_equal(reason, "image: 40x20, too many pixels");
    buf_free(&jpeg);
    buf_free(&png);
    draw(41, 20, &jpeg, &png);
    assert_false(check(jpeg.data, jpeg.len, &limits, reason));
    assert_string_equal(reason, "aspect: 41x20");
    buf_free(&jpeg);
    buf_free(&png);
    draw(20, 41, &jpeg, &png);
    assert_false(check(png.data, png.len, &limits, reason));
    assert_string_equal(reason, "aspect: 20x41");
    buf_free(&jpeg);
    buf_free(&png);
}

static void test_every_cut(void **state)
{
    (void)state;
    struct buf both[2] = {{0}};
    char reason[PICTURE_REASON];
    draw(24, 24, &both[0], &both[1]);
    for (int k = 0; k < 2; k++) {
        for (size_t len = 0; len < both[k].len; len++) {
            if (check(both[k].data, len, &limits, reason))
                fail_msg("%zu of %zu bytes pass", len, both[k].len);
            assert_memory_equal(reason, "image: ", 7);
        }
        buf_append(&both[k], "behind the end", 14);
        assert_true(check(both[k].data, both[k].len, &limits, reason));
        buf_free(&both[k]);
    }
}

/* Whatever a byte is changed to: an answer, and what decodes without a warning passes the check of structure too. */
static void test_any_damage(void **state)
{
    (void)state;
    struct buf both[2] = {{0}};
    char reason[PICTURE_REASON];
    struct picture_limits full = limits;
    full.decode = true;
    draw(16, 16, &both[0], &both[1]);
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < both[k].len; i++) {
            for (int flip = 1; flip < 256; flip <<= 3) {
                both[k].data[i] ^= (unsigned char)flip;
                bool structure = check(both[k].data, both[k].len, &limits, reason);
                bool decoded = check(both[k].data, both[k].len, &full, reason);
                assert_true(structure || !decoded);
                both[k].data[i] ^= (unsigned char)flip;
            }
        }
        buf_free(&both[k]);
    }
}

/* Damage that the structure does not show is found by decoding. */
static void test_decode(void **state)
{
    (void)state;
    struct buf jpeg = {0}, png = {0};
    char reason[PICTURE_REASON];
    struct picture_limits full = limits;
    full.decode = true;
    draw(64, 64, &jpeg, &png);
    memmove(jpeg.data + jpeg.len - 500, jpeg.data + jpeg.len - 2, 2); /* the end mark comes early */
    jpeg.len -= 498;
    png.data[png.len - 40] ^= 1;
    assert_true(check(jpeg.data, jpeg.len, &limits, reason));
    assert_false(check(jpeg.data, jpeg.len, &full, reason));
    assert_memory_equal(reason, "image: ", 7);
    assert_true(check(png.data, png.len, &limits, reason));
    assert_false(check(png.data, png.len, &full, reason));
    buf_free(&jpeg);
    buf_free(&png);
}

static void test_no_picture(void **state)
{
    (void)state;
    char reason[PICTURE_REASON];
    assert_false(check("", 0, &limits, reason));
    assert_false(check("GIF89a..........", 16, &limits, reason));
    assert_string_equal(reason, "image: neither JPEG, PNG nor WebP");
    assert_false(check("\xFF\xD8\xFF", 3, &limits, reason));
    assert_false(check("\x89PNG\r\n\x1a\n", 8, &limits, reason));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits), cmocka_unit_test(test_every_cut),  cmocka_unit_test(test_any_damage),
        cmocka_unit_test(test_decode), cmocka_unit_test(test_no_picture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
