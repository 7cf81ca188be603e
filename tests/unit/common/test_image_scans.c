/* Progressive JPEGs to squares without libjpeg: the same picture as through it, and nothing accepted that it refuses.
 */
#include "common/err.h"
#include "common/image_private.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct kind {
    int components, h, v, restart_rows;
};
static const struct kind kinds[] = {{3, 1, 1, 0}, {3, 2, 1, 0}, {3, 2, 2, 0}, {3, 1, 2, 0}, {1, 1, 1, 0},
                                    {1, 2, 2, 0}, {3, 2, 2, 1}, {3, 1, 1, 2}, {1, 1, 1, 1}};

/* Waves, edges and noise, so that every kind of run comes. */
static void picture(struct image *im, int width, int height)
{
    uint32_t x = (uint32_t)(width * 31 + height);
    image_alloc(im, width, height);
    for (int i = 0; i < width * height; i++) {
        int column = i % width, row = i / width, noise = (int)((x = x * 1664525u + 1013904223u) >> 27);
        bool flat = column > width / 2 && row < height / 2;
        im->rgb[i * 3] = (uint8_t)(flat ? 40 : 110 + 70 * sin(column * 0.3) + noise);
        im->rgb[i * 3 + 1] = (uint8_t)(flat ? 200 : 110 + 70 * cos(row * 0.2) + noise);
        im->rgb[i * 3 + 2] = (uint8_t)(flat ? 90 : (column / 5 + row / 7) % 2 ? 180 : 60 + noise);
    }
}

static void write_jpeg(struct buf *out, const struct image *im, const struct kind *k, int quality)
{
    struct jpeg_error_mgr errors;
    struct jpeg_compress_struct c = {.err = jpeg_std_error(&errors)};
    unsigned char *bytes = NULL;
    unsigned long size = 0;
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &bytes, &size);
    c.image_width = (JDIMENSION)im->width;
    c.image_height = (JDIMENSION)im->height;
    c.input_components = 3;
    c.in_color_space = JCS_RGB;
    jpeg_set_defaults(&c);
    jpeg_set_quality(&c, quality, TRUE);
    if (k->components == 1)
        jpeg_set_colorspace(&c, JCS_GRAYSCALE);
    c.comp_info[0].h_samp_factor = k->h;
    c.comp_info[0].v_samp_factor = k->v;
    c.restart_in_rows = k->restart_rows;
    jpeg_simple_progression(&c);
    jpeg_start_compress(&c, TRUE);
    for (int y = 0; y < im->height; y++) {
        JSAMPROW row = im->rgb + (size_t)y * im->width * 3;
        jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    out->len = 0;
    buf_append(out, bytes, size);
    free(bytes);
}

static _Noreturn void escape(j_common_ptr info)
{
    longjmp(*(jmp_buf *)info->client_data, 1);
}

static void quiet(j_common_ptr info, int level)
{
    if (level < 0)
        escape(info);
}

/* Through image_scans.c alone. */
static bool square(struct image *im, const struct buf *file, int scale_down, int side)
{
    struct jpeg_error_mgr errors;
    struct jpeg_decompress_struct d = {.err = jpeg_std_error(&errors)};
    jmp_buf back;
    volatile bool done = false;
    errors.error_exit = escape;
    errors.emit_message = quiet;
    jpeg_create_decompress(&d);
    d.client_data = &back;
    if (!setjmp(back)) {
        jpeg_mem_src(&d, file->data, file->len);
        jpeg_read_header(&d, TRUE);
        done = !image_check_pixels(d.image_width, d.image_height, 1 << 20) &&
               scans_square(im, &d, file->data, file->len, scale_down, side);
    }
    jpeg_destroy_decompress(&d);
    return done;
}

/* The square by its definition: means of cells of the whole picture, and of these means by area. */
static void cells_to_square(const struct image *whole, int by, int side, struct image *out)
{
    int width = whole->width, height = whole->height, least = width < height ? width : height;
    struct image cells;
    image_alloc(&cells, (width + by - 1) / by, (height + by - 1) / by);
    for (int i = 0; i < cells.width * cells.height * 3; i++) {
        int x = i / 3 % cells.width * by, y = i / 3 / cells.width * by, sum = 0, n = 0;
        for (int row = y; row < y + by && row < height; row++)
            for (int column = x; column < x + by && column < width; column++, n++)
                sum += whole->rgb[((size_t)row * width + column) * 3 + i % 3];
        cells.rgb[i] = (uint8_t)lround((double)sum / n);
    }
    int left = (width - least) / 2, top = (height - least) / 2;
    double part = 1.0 / by;
    image_resize_area(&cells, left * part, top * part, least * part, least * part, side, side, out);
    image_free(&cells);
}

static void test_the_same_picture(void **state)
{
    (void)state;
    static const int sizes[][2] = {{160, 160}, {331, 217}, {150, 401}};
    for (size_t n = 0; n < sizeof kinds / sizeof *kinds * 9; n++) {
        const struct kind *k = &kinds[n / 9];
        const int *size = sizes[n % 3], by = 2 << n / 3 % 3;
        struct image im, whole, want, got = {0};
        struct buf file = {0};
        double sum = 0;
        picture(&im, size[0], size[1]);
        write_jpeg(&file, &im, k, n % 4 == 0 ? 100 : n % 4 == 1 ? 10 : 92); /* all coefficients, hardly any */
        assert_int_equal(image_decode(&whole, file.data, file.len, 0, 1), 0);
        cells_to_square(&whole, by, 75 / by, &want);
        assert_true(square(&got, &file, by, 75 / by));
        for (int i = 0; got.rgb && i < want.width * want.height * 3; i++)
            sum += abs(want.rgb[i] - got.rgb[i]);
        sum /= want.width * want.height * 3;
        /* libjpeg smooths the colours of a subsampled picture when it makes them large. */
        if (sum > (k->components == 1 || k->h * k->v == 1 ? 0.3 : 2))
            fail_msg("%dx%d by %d, %d components, %dx%d: %.2f apart", size[0], size[1], by, k->components, k->h, k->v,
                     sum);
        image_free(&im);
        image_free(&whole);
        image_free(&want);
        image_free(&got);
        buf_free(&file);
    }
}

/* What is accepted here must be what libjpeg takes without a warning. */
static void no_more_than_libjpeg(const struct buf *file, const char *what, size_t at)
{
    struct image here, there;
    if (!square(&here, file, 2, 6))
        return;
    image_free(&here);
    if (image_decode(&there, file->data, file->len, 1 << 20, 1))
        fail_msg("%s at %zu is accepted, libjpeg says: %s", what, at, err_text());
    image_free(&there);
}

static void test_damage(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof kinds / sizeof *kinds; n += 2) {
        struct image im;
        struct buf file = {0};
        picture(&im, 34, 27);
        write_jpeg(&file, &im, &kinds[n], 50);
        const size_t len = file.len;
        for (file.len = 0; file.len < len; file.len++)
            assert_false(square(&im, &file, 2, 6));
        for (size_t i = 2; i < len; i++)
            for (int bit = 0; bit < 8; bit++) {
                file.data[i] ^= (uint8_t)(1 << bit);
                no_more_than_libjpeg(&file, "a bit", i);
                file.data[i] ^= (uint8_t)(1 << bit);
            }
        for (size_t i = 2; i + 1 < len; i++) { /* a byte too many, one too few */
            struct buf other = {0};
            buf_append(&other, file.data, i);
            buf_append(&other, "\x55", 1);
            buf_append(&other, file.data + i, len - i);
            no_more_than_libjpeg(&other, "another byte", i);
            memmove(other.data + i, other.data + i + 2, len - i - 1);
            other.len -= 2;
            no_more_than_libjpeg(&other, "a byte left out", i);
            buf_free(&other);
        }
        image_free(&im);
        buf_free(&file);
    }
}

/* Where each scan and its tables begin, and the last one ends. */
static int find_scans(const struct buf *file, size_t at[16])
{
    int count = 0;
    bool before = true; /* tables that come now are the first ones of a scan */
    for (size_t i = 2; i + 1 < file->len; i++) {
        unsigned marker = file->data[i] == 0xFF ? file->data[i + 1] : 0;
        if (marker == 0xD9 || ((marker == 0xDA || marker == 0xC4) && !before))
            at[count++] = i;
        if (marker == 0xDA || marker == 0xC4)
            before = true;
        if (marker == 0xDA) {
            if (count == 0)
                at[count++] = i;
            before = false;
        }
    }
    return count;
}

/* Scans out of turn or left out: libjpeg warns, or smooths what it lacks. */
static void test_order_of_scans(void **state)
{
    (void)state;
    struct image im;
    struct buf file = {0};
    size_t at[16];
    picture(&im, 48, 48);
    write_jpeg(&file, &im, &kinds[4], 50); /* grey: a script of few scans */
    int count = find_scans(&file, at) - 1;
    assert_in_range(count, 4, 10);
    for (int i = 0; i < count; i++)
        for (int with = i; with < count; with++) { /* i left out, or i and `with` exchanged */
            struct buf other = {0};
            buf_append(&other, file.data, at[0]);
            for (int n = 0; n < count; n++) {
                int from = n == i ? with : n == with ? i : n;
                if (n != i || with != i)
                    buf_append(&other, file.data + at[from], at[from + 1] - at[from]);
            }
            buf_append(&other, file.data + at[count], file.len - at[count]);
            struct image got;
            bool taken = square(&got, &other, 2, 6);
            if (taken)
                image_free(&got);
            if (with == i)
                assert_false(taken);
            no_more_than_libjpeg(&other, "another order", (size_t)i);
            buf_free(&other);
        }
    image_free(&im);
    buf_free(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_same_picture), cmocka_unit_test(test_damage),
                                       cmocka_unit_test(test_order_of_scans)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
