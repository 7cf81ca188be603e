/* Pictures: codecs refuse what is damaged or too large; resizing by area is the exact mean. */
#include "common/err.h"
#include "common/image.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void noise(struct image *im, int width, int height)
{
    image_alloc(im, width, height);
    uint32_t x = (uint32_t)(width * 7919 + height);
    for (int i = 0; i < width * height * 3; i++)
        im->rgb[i] = (uint8_t)((x = x * 1664525u + 1013904223u) >> 24);
}

/* A smooth picture, which JPEG keeps nearly. */
static void ramp(struct image *im, int width, int height)
{
    image_alloc(im, width, height);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            uint8_t *p = im->rgb + ((size_t)y * width + x) * 3;
            p[0] = (uint8_t)(255 * x / width);
            p[1] = (uint8_t)(255 * y / height);
            p[2] = 128;
        }
}

static void test_png_round_trip(void **state)
{
    (void)state;
    static const int sizes[][2] = {{1, 1}, {7, 3}, {64, 33}};
    for (int i = 0; i < 3; i++) {
        struct image a, b;
        struct buf png = {0};
        int width, height;
        noise(&a, sizes[i][0], sizes[i][1]);
        assert_int_equal(image_encode_png(&a, &png), 0);
        assert_int_equal(image_size(png.data, png.len, &width, &height), 0);
        assert_int_equal(width, sizes[i][0]);
        assert_int_equal(height, sizes[i][1]);
        assert_int_equal(image_decode(&b, png.data, png.len, 0, 1), 0);
        assert_memory_equal(a.rgb, b.rgb, (size_t)a.width * a.height * 3);
        image_free(&a);
        image_free(&b);
        buf_free(&png);
    }
}

static void test_jpeg_round_trip(void **state)
{
    (void)state;
    struct image a, b, half;
    struct buf jpeg = {0};
    ramp(&a, 50, 37);
    assert_int_equal(image_encode_jpeg(&a, 95, &jpeg), 0);
    assert_int_equal(image_decode(&b, jpeg.data, jpeg.len, 0, 1), 0);
    assert_int_equal(b.width, 50);
    assert_int_equal(b.height, 37);
    for (int i = 0; i < 50 * 37 * 3; i++)
        assert_true(abs(a.rgb[i] - b.rgb[i]) < 12);
    assert_int_equal(image_decode(&half, jpeg.data, jpeg.len, 0, 2), 0);
    assert_int_equal(half.width, 25);
    assert_int_equal(half.height, 18); /* the last row would be half made up */
    image_free(&a);
    image_free(&b);
    image_free(&half);
    buf_free(&jpeg);
}

static void test_every_truncation_is_refused(void **state)
{
    (void)state;
    struct image a, b = {0};
    noise(&a, 24, 24);
    for (int kind = 0; kind < 2; kind++) {
        struct buf file = {0};
        assert_int_equal(kind ? image_encode_png(&a, &file) : image_encode_jpeg(&a, 80, &file), 0);
        for (size_t n = 0; n + 12 < file.len; n++) { /* PNG's last 12 bytes are its end mark, without pixels */
            unsigned char *cut = malloc(n + 1);
            memcpy(cut, file.data, n);
            assert_int_equal(image_decode(&b, cut, n, 0, 1), -1);
            assert_int_equal(err_code(), ERR_DATA);
            free(cut);
        }
        buf_free(&file);
    }
    image_free(&a);
}

/* Writes another size into the header of a baseline JPEG. */
static void claim_size(struct buf *jpeg, uint8_t high, uint8_t low)
{
    for (size_t i = 2; i + 9 < jpeg->len; i++)
        if (jpeg->data[i] == 0xFF && jpeg->data[i + 1] == 0xC0) {
            jpeg->data[i + 5] = jpeg->data[i + 7] = high;
            jpeg->data[i + 6] = jpeg->data[i + 8] = low;
            return;
        }
}

static void test_absurd_size_costs_nothing(void **state)
{
    (void)state;
    struct image a, b;
    struct buf jpeg = {0};
    int width, height;
    ramp(&a, 16, 16);
    assert_int_equal(image_encode_jpeg(&a, 80, &jpeg), 0);
    claim_size(&jpeg, 0xFF, 0xDC);
    assert_int_equal(image_size(jpeg.data, jpeg.len, &width, &height), 0);
    assert_int_equal(width, 65500);
    assert_int_equal(image_decode(&b, jpeg.data, jpeg.len, 0, 1), -1);
    assert_non_null(strstr(err_text(), "65500x65500"));
    claim_size(&jpeg, 0xFF, 0xFF); /* more than libjpeg takes */
    assert_int_equal(image_size(jpeg.data, jpeg.len, &width, &height), -1);
    assert_int_equal(image_decode(&b, jpeg.data, jpeg.len, 0, 1), -1);
    assert_int_equal(err_code(), ERR_DATA);
    image_free(&a);
    buf_free(&jpeg);
}

/* The mean of what output pixel (ox, oy) covers, by its definition, on a fine grid of points. */
static double covered(const struct image *in, double x, double y, double w, double h, int c)
{
    double sum = 0, area = 0;
    for (int py = (int)y; py < in->height && py < y + h; py++)
        for (int px = (int)x; px < in->width && px < x + w; px++) {
            double part = (fmin(px + 1, x + w) - fmax(px, x)) * (fmin(py + 1, y + h) - fmax(py, y));
            sum += part * in->rgb[((size_t)py * in->width + px) * 3 + c];
            area += part;
        }
    return sum / area;
}

static void test_area_resize_is_the_mean(void **state)
{
    (void)state;
    static const struct {
        int w, h, out;
        double x, y, part;
    } cases[] = {{32, 32, 8, 0, 0, 32}, {33, 47, 10, 0, 7, 33}, {50, 20, 13, 11.5, 1.25, 17.5}, {5, 5, 9, 0, 0, 5}};
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        struct image in, out;
        noise(&in, cases[n].w, cases[n].h);
        image_resize_area(&in, cases[n].x, cases[n].y, cases[n].part, cases[n].part, cases[n].out, cases[n].out, &out);
        double step = cases[n].part / cases[n].out;
        for (int y = 0; y < out.height; y++)
            for (int x = 0; x < out.width; x++)
                for (int c = 0; c < 3; c++) {
                    double want = covered(&in, cases[n].x + x * step, cases[n].y + y * step, step, step, c);
                    assert_true(fabs(out.rgb[((size_t)y * out.width + x) * 3 + c] - want) < 0.51);
                }
        image_free(&in);
        image_free(&out);
    }
}

static void test_crop_flip_paste(void **state)
{
    (void)state;
    struct image in, part, canvas;
    noise(&in, 9, 5);
    image_crop(&in, 2, 1, 4, 3, &part);
    assert_memory_equal(part.rgb, in.rgb + (9 + 2) * 3, 4 * 3);
    struct image twice;
    image_crop(&part, 0, 0, 4, 3, &twice);
    image_flip(&twice);
    for (int i = 0; i < 4 * 3; i++) /* each pixel of each row */
        assert_memory_equal(twice.rgb + i * 3, part.rgb + (i / 4 * 4 + 3 - i % 4) * 3, 3);
    image_flip(&twice);
    assert_memory_equal(twice.rgb, part.rgb, 4 * 3 * 3);
    image_alloc(&canvas, 6, 6);
    memset(canvas.rgb, 0, 6 * 6 * 3);
    image_paste(&canvas, &in, -3, 4); /* two rows and all six columns fit */
    assert_memory_equal(canvas.rgb + 4 * 6 * 3, in.rgb + 3 * 3, 6 * 3);
    assert_int_equal(canvas.rgb[3 * 6 * 3], 0);
    image_paste(&canvas, &in, 100, 0);
    image_free(&in);
    image_free(&part);
    image_free(&twice);
    image_free(&canvas);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_png_round_trip),
        cmocka_unit_test(test_jpeg_round_trip),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_absurd_size_costs_nothing),
        cmocka_unit_test(test_area_resize_is_the_mean),
        cmocka_unit_test(test_crop_flip_paste),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
