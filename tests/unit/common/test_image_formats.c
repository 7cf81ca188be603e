/* Pictures as they come: kinds of PNG and WebP, orientation, the square of a JPEG alone, and what is refused. */
#include "common/err.h"
#include "common/image_private.h"
#include <math.h>
#include <png.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <webp/encode.h>
#include <zlib.h>

#include <cmocka.h>

enum { W = 37, H = 23 };

/* Smooth, and different in every corner. */
static void picture(struct image *im, int width, int height)
{
    image_alloc(im, width, height);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            uint8_t *p = im->rgb + ((size_t)y * width + x) * 3;
            p[0] = (uint8_t)(255 * x / width);
            p[1] = (uint8_t)(255 * y / height);
            p[2] = (uint8_t)(128 + 100 * sin(x * 20.0 / width) * cos(y * 15.0 / height));
        }
}

static void refused(const void *data, size_t len, const char *why)
{
    struct image im = {0};
    assert_int_equal(image_decode(&im, data, len, 0, 1), -1);
    if (!strstr(err_text(), why))
        fail_msg("'%s' has no '%s'", err_text(), why);
    assert_null(im.rgb);
}

static void append(png_structp png, png_bytep data, png_size_t len)
{
    buf_append(png_get_io_ptr(png), data, len);
}

/* A PNG of any type; value v of a sample becomes what `type` and `depth` make of the picture's. */
static void write_png(struct buf *out, const struct image *im, int type, int depth, int interlace)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_color palette[256];
    for (int i = 0; i < 256; i++)
        palette[i] = (png_color){(png_byte)i, (png_byte)(255 - i), 7};
    png_set_write_fn(png, out, append, NULL);
    png_set_IHDR(png, info, (png_uint_32)im->width, (png_uint_32)im->height, depth, type, interlace, 0, 0);
    if (type == PNG_COLOR_TYPE_PALETTE)
        png_set_PLTE(png, info, palette, 256);
    png_write_info(png, info);
    size_t samples = type == PNG_COLOR_TYPE_RGB ? 3 : 1, bytes = (size_t)depth / 8, row = im->width * samples * bytes;
    uint8_t *all = xcalloc((size_t)im->height, row);
    png_bytep rows[H];
    for (int y = 0; y < im->height; y++) {
        rows[y] = all + (size_t)y * row;
        for (size_t i = 0; i < im->width * samples; i++)
            rows[y][i * bytes] = im->rgb[(size_t)y * im->width * 3 + (samples == 3 ? i : i * 3)];
    }
    png_write_image(png, rows);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    free(all);
}

static void test_kinds_of_png(void **state)
{
    (void)state;
    static const int types[] = {PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_PALETTE};
    struct image im, got;
    picture(&im, W, H);
    for (int i = 0; i < 6; i++) {
        struct buf png = {0};
        write_png(&png, &im, types[i / 2], 8, i % 2 ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE);
        assert_int_equal(image_decode(&got, png.data, png.len, 0, 1), 0);
        assert_int_equal(got.width, W);
        for (int p = 0; p < W * H; p++) {
            int v = im.rgb[p * 3];
            const uint8_t grey[] = {(uint8_t)v, (uint8_t)v, (uint8_t)v}, index[] = {(uint8_t)v, (uint8_t)(255 - v), 7};
            assert_memory_equal(got.rgb + p * 3, i < 2 ? im.rgb + p * 3 : i < 4 ? grey : index, 3);
        }
        refused(png.data, png.len - 20, "PNG");
        image_free(&got);
        buf_free(&png);
    }
    struct buf deep = {0};
    int width, height;
    write_png(&deep, &im, PNG_COLOR_TYPE_RGB, 16, PNG_INTERLACE_NONE);
    refused(deep.data, deep.len, "16 bits");
    assert_int_equal(image_size(deep.data, deep.len, &width, &height), -1);
    buf_free(&deep);
    image_free(&im);
}

static void test_animated_png(void **state)
{
    (void)state;
    static const uint8_t control[] = {0, 0, 0, 8, 'a', 'c', 'T', 'L', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0};
    struct image im;
    struct buf png = {0}, animated = {0};
    picture(&im, W, H);
    write_png(&png, &im, PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_NONE);
    buf_append(&animated, png.data, 33);
    buf_append(&animated, control, sizeof control);
    buf_append(&animated, png.data + 33, png.len - 33);
    refused(animated.data, animated.len, "animated");
    image_free(&im);
    buf_free(&png);
    buf_free(&animated);
}

static void test_webp(void **state)
{
    (void)state;
    struct image im, got;
    uint8_t *bytes, *clear = xcalloc(W * H, 4);
    int width, height;
    picture(&im, W, H);
    size_t len = WebPEncodeLosslessRGB(im.rgb, W, H, W * 3, &bytes);
    assert_int_equal(image_size(bytes, len, &width, &height), 0);
    assert_int_equal(width * 1000 + height, W * 1000 + H);
    assert_int_equal(image_decode(&got, bytes, len, 0, 1), 0);
    assert_memory_equal(got.rgb, im.rgb, W * H * 3);
    image_free(&got);
    assert_int_equal(image_decode(&got, bytes, len, W * H - 1, 1), -1);
    for (size_t n = 12; n < len; n += 7)
        refused(bytes, n, "WebP");
    WebPFree(bytes);
    len = WebPEncodeLosslessRGBA(clear, W, H, W * 4, &bytes);
    assert_int_equal(image_decode(&got, bytes, len, 0, 1), 0);
    for (int i = 0; i < W * H * 3; i++)
        assert_int_equal(got.rgb[i], 255);
    WebPFree(bytes);
    /* The extended header's flag for animations is enough. */
    static const uint8_t animated[] = "RIFF\x26\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\x09\0\0\x09\0\0"
                                      "ANIM\x06\0\0\0\0\0\0\0\0\0";
    refused(animated, sizeof animated - 1, "animated");
    image_free(&got);
    image_free(&im);
    free(clear);
}

enum { TIFF = 26 };

/* EXIF's TIFF form with nothing but an orientation. */
static void tiff(uint8_t out[TIFF], int orientation, bool little)
{
    static const uint8_t big_endian[TIFF] = {'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1};
    static const uint8_t little_endian[TIFF] = {'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1};
    memcpy(out, little ? little_endian : big_endian, TIFF);
    out[little ? 18 : 19] = (uint8_t)orientation;
}

/* A JPEG with an EXIF segment behind its first marker. */
static void oriented(struct buf *out, const struct buf *jpeg, int orientation, bool little)
{
    uint8_t exif[TIFF];
    tiff(exif, orientation, little);
    out->len = 0;
    buf_append(out, jpeg->data, 2);
    buf_append(out,
               "\xFF\xE1\0\x22"
               "Exif\0",
               10);
    buf_append(out, exif, TIFF);
    buf_append(out, jpeg->data + 2, jpeg->len - 2);
}

/* A PNG with an eXIf chunk before its end, and a WebP in the extended form with an EXIF chunk. */
static void oriented_png(struct buf *out, const struct buf *png, int orientation)
{
    enum { END = 12 };
    uint8_t chunk[4 + TIFF] = "eXIf", sum[4];
    tiff(chunk + 4, orientation, orientation % 2);
    png_save_uint_32(sum, (png_uint_32)crc32(0, chunk, sizeof chunk));
    buf_append(out, png->data, png->len - END);
    buf_append(out, "\0\0\0\x1A", 4);
    buf_append(out, chunk, sizeof chunk);
    buf_append(out, sum, sizeof sum);
    buf_append(out, png->data + png->len - END, END);
}

static void oriented_webp(struct buf *out, const uint8_t *simple, size_t len, int orientation, bool as_segment)
{
    uint8_t extended[] = "RIFF....WEBPVP8X\x0a\0\0\0\x08\0\0\0w\0\0h\0\0", exif[TIFF];
    uint32_t prefix = as_segment ? 6 : 0, body = TIFF + prefix, total;
    extended[24] = W - 1;
    extended[27] = H - 1;
    total = (uint32_t)(sizeof extended - 1 + len - 12 + 8 + body - 8);
    memcpy(extended + 4, &total, 4);
    tiff(exif, orientation, orientation % 2);
    buf_append(out, extended, sizeof extended - 1);
    buf_append(out, simple + 12, len - 12);
    buf_append(out, "EXIF", 4);
    buf_append(out, &body, 4);
    buf_append(out, "Exif\0", prefix);
    buf_append(out, exif, TIFF);
}

/* Where the stored picture's corners (0 upper left, 1 upper right, 2 lower left, 3 lower right) are to be seen, in the
 * order upper left, upper right, lower left, lower right: EXIF 2.3, table 6. */
static const int CORNERS[9][4] = {{0},          {0, 1, 2, 3}, {1, 0, 3, 2}, {3, 2, 1, 0}, {2, 3, 0, 1},
                                  {0, 2, 1, 3}, {2, 0, 3, 1}, {3, 1, 2, 0}, {1, 3, 0, 2}};

/* `turned` is `plain` as seen with the orientation. */
static void seen_as(const struct buf *turned, const struct image *plain, int orientation)
{
    struct image got;
    int width, height;
    const size_t corner[] = {0, W - 1, (size_t)(H - 1) * W, (size_t)H * W - 1};
    assert_int_equal(image_size(turned->data, turned->len, &width, &height), 0);
    assert_int_equal(image_decode(&got, turned->data, turned->len, 0, 1), 0);
    assert_int_equal(width, orientation >= 5 ? H : W);
    assert_int_equal(got.width, width);
    assert_int_equal(got.height, height);
    const size_t seen[] = {0, (size_t)width - 1, (size_t)(height - 1) * width, (size_t)height * width - 1};
    for (int i = 0; i < 4; i++)
        assert_memory_equal(got.rgb + seen[i] * 3, plain->rgb + corner[CORNERS[orientation][i]] * 3, 3);
    image_free(&got);
}

static void test_orientation(void **state)
{
    (void)state;
    struct image im, got, plain;
    struct buf jpeg = {0}, png = {0}, turned = {0};
    uint8_t *webp;
    picture(&im, W, H);
    assert_int_equal(image_encode_jpeg(&im, 95, &jpeg), 0);
    assert_int_equal(image_decode(&plain, jpeg.data, jpeg.len, 0, 1), 0);
    for (int o = 0; o <= 18; o++) {
        oriented(&turned, &jpeg, o % 10, o >= 10);
        seen_as(&turned, &plain, o % 10 >= 1 && o % 10 <= 8 ? o % 10 : 1);
    }
    assert_int_equal(image_encode_png(&im, &png), 0);
    size_t len = WebPEncodeLosslessRGB(im.rgb, W, H, W * 3, &webp);
    for (int o = 1; o <= 8; o++) {
        turned.len = 0;
        oriented_png(&turned, &png, o);
        seen_as(&turned, &im, o);
        for (int as_segment = 0; as_segment < 2; as_segment++) {
            turned.len = 0;
            oriented_webp(&turned, webp, len, o, as_segment);
            seen_as(&turned, &im, o);
        }
    }
    /* A segment damaged anywhere is no orientation and no reject. */
    for (size_t at = 12; at < 38; at++) {
        oriented(&turned, &jpeg, 6, at % 2);
        turned.data[at] ^= 0xFF;
        assert_int_equal(image_decode(&got, turned.data, turned.len, 0, 1), 0);
        image_free(&got);
    }
    WebPFree(webp);
    image_free(&im);
    image_free(&plain);
    buf_free(&jpeg);
    buf_free(&png);
    buf_free(&turned);
}

/* EXIF up to the end of a page, behind which nothing may be read: cut anywhere, and with offsets to anywhere. */
static void test_exif_bounds(void **state)
{
    (void)state;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *memory = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), exif[TIFF];
    assert_true(memory != MAP_FAILED);
    assert_int_equal(mprotect(memory + page, page, PROT_NONE), 0);
    for (size_t len = 0; len <= TIFF; len++)
        for (int offset = 0; offset <= TIFF + 2; offset++) {
            uint8_t *at = memory + page - len;
            tiff(exif, 6, true);
            exif[4] = (uint8_t)offset;
            memcpy(at, exif, len);
            assert_int_equal(exif_orientation(at, len), offset == 8 && len >= 22 ? 6 : 1);
        }
    memset(exif + 4, 0xFF, 4);
    memcpy(memory + page - TIFF, exif, TIFF);
    assert_int_equal(exif_orientation(memory + page - TIFF, TIFF), 1);
    munmap(memory, 2 * page);
}

/* Chunks that claim more than the file has, which ends with a page; and a chunk of odd length before EXIF's. */
static void test_exif_chunks(void **state)
{
    (void)state;
    static const uint8_t png_length[4] = {0, 0, 16, 0}, webp_length[4] = {0, 16, 0, 0}; /* 4,096 bytes of EXIF ... */
    static const uint8_t offset[4] = {0, 1, 0, 0};                                      /* ... from 256 on */
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *memory = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *webp;
    struct image im;
    struct buf png = {0}, file = {0}, odd = {0};
    int width, height;
    assert_true(memory != MAP_FAILED);
    assert_int_equal(mprotect(memory + 3 * page, page, PROT_NONE), 0);
    picture(&im, W, H);
    assert_int_equal(image_encode_png(&im, &png), 0);
    size_t len = WebPEncodeLosslessRGB(im.rgb, W, H, W * 3, &webp);
    for (int i = 0; i < 2; i++) {
        const int behind = i ? 0 : 16; /* PNG's checksum and end */
        file.len = 0;
        if (i)
            oriented_webp(&file, webp, len, 7, false);
        else
            oriented_png(&file, &png, 7);
        file.len -= (size_t)behind;
        uint8_t *at = memory + 3 * page - file.len;
        assert_true(file.len < 3 * page);
        memcpy(at, file.data, file.len);
        memcpy(at + file.len - TIFF - (i ? 4 : 8), i ? webp_length : png_length, 4);
        memcpy(at + file.len - TIFF + 4, offset, 4);
        assert_int_equal(image_size(at, file.len, &width, &height), 0);
        assert_int_equal(width, W);
    }
    file.len = 0;
    oriented_webp(&file, webp, len, 7, false);
    buf_append(&odd, file.data, file.len - TIFF - 8);
    buf_append(&odd, "ODD \1\0\0\0x", 10);
    buf_append(&odd, file.data + file.len - TIFF - 8, TIFF + 8);
    odd.data[4] = (uint8_t)(odd.data[4] + 10);
    assert_int_equal(image_size(odd.data, odd.len, &width, &height), 0);
    assert_int_equal(width, H);
    munmap(memory, 4 * page);
    WebPFree(webp);
    image_free(&im);
    buf_free(&png);
    buf_free(&file);
    buf_free(&odd);
}

static void write_cmyk(struct buf *out, J_COLOR_SPACE space, bool adobe, const uint8_t inks[4])
{
    struct jpeg_error_mgr errors;
    struct jpeg_compress_struct c = {.err = jpeg_std_error(&errors)};
    unsigned char *bytes = NULL, row[W * 4];
    unsigned long size = 0;
    JSAMPROW rows = row;
    for (int i = 0; i < W * 4; i++)
        row[i] = adobe ? 255 - inks[i % 4] : inks[i % 4]; /* Adobe's programs invert them */
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &bytes, &size);
    c.image_width = W;
    c.image_height = H;
    c.input_components = 4;
    c.in_color_space = JCS_CMYK;
    jpeg_set_defaults(&c);
    jpeg_set_colorspace(&c, space);
    jpeg_set_quality(&c, 100, TRUE);
    c.write_Adobe_marker = adobe;
    jpeg_start_compress(&c, TRUE);
    for (int y = 0; y < H; y++)
        jpeg_write_scanlines(&c, &rows, 1);
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    buf_append(out, bytes, size);
    free(bytes);
}

static void test_cmyk(void **state)
{
    (void)state;
    static const uint8_t inks[] = {200, 30, 90, 64};
    for (int i = 0; i < 3; i++) { /* CMYK, Adobe's CMYK, Adobe's YCCK */
        struct buf jpeg = {0};
        struct image got;
        write_cmyk(&jpeg, i < 2 ? JCS_CMYK : JCS_YCCK, i > 0, inks);
        assert_int_equal(image_decode(&got, jpeg.data, jpeg.len, 0, 1), 0);
        for (int p = 0; p < W * H * 3; p++) {
            int want = (255 - inks[p % 3]) * (255 - inks[3]) / 255;
            assert_in_range(got.rgb[p] + 3 - want, 0, 6);
        }
        image_free(&got);
        buf_free(&jpeg);
    }
}

static void test_profiles_are_seen(void **state)
{
    (void)state;
    struct image im;
    struct buf jpeg = {0}, png = {0}, with = {0};
    static const uint8_t webp[] = "RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x20\0\0\0\x09\0\0\x09\0\0";
    picture(&im, W, H);
    assert_int_equal(image_encode_jpeg(&im, 95, &jpeg), 0);
    assert_int_equal(image_encode_png(&im, &png), 0);
    assert_false(image_has_profile(jpeg.data, jpeg.len));
    assert_false(image_has_profile(png.data, png.len));
    buf_append(&with, jpeg.data, 2);
    buf_append(&with, "\xFF\xE2\0\x10ICC_PROFILE\0\1\1", 18);
    buf_append(&with, jpeg.data + 2, jpeg.len - 2);
    assert_true(image_has_profile(with.data, with.len));
    with.len = 0;
    buf_append(&with, png.data, 33);
    buf_append(&with, "\0\0\0\0iCCP\0\0\0\0", 12);
    buf_append(&with, png.data + 33, png.len - 33);
    assert_true(image_has_profile(with.data, with.len));
    assert_true(image_has_profile(webp, sizeof webp - 1));
    assert_false(image_has_profile(webp, 20));
    image_free(&im);
    buf_free(&jpeg);
    buf_free(&png);
    buf_free(&with);
}

static double distance(const struct image *a, const struct image *b)
{
    double sum = 0;
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    for (int i = 0; i < a->width * a->height * 3; i++)
        sum += abs(a->rgb[i] - b->rgb[i]);
    return sum / (a->width * a->height * 3);
}

/* The square alone is what the whole picture's centre is, reduced or not, wide or high. */
static void test_square(void **state)
{
    (void)state;
    static const int sizes[][2] = {{300, 100}, {100, 300}, {101, 100}, {640, 417}, {333, 777}, {64, 64}};
    for (int i = 0; i < 12; i++) {
        int side = i < 6 ? 20 : 64, width, height;
        struct image im, whole, square, a;
        struct buf jpeg = {0};
        picture(&im, sizes[i % 6][0], sizes[i % 6][1]);
        assert_int_equal(image_encode_jpeg(&im, 95, &jpeg), 0);
        assert_int_equal(image_decode(&whole, jpeg.data, jpeg.len, 0, 1), 0);
        assert_int_equal(image_decode_square(&square, jpeg.data, jpeg.len, side, &width, &height), 0);
        assert_int_equal(width, im.width);
        assert_int_equal(height, im.height);
        int by = image_reduction(width, height, side), least = width < height ? width : height;
        assert_true(by == 1 || least / by >= 2 * side);
        assert_true(by == 8 || least / (2 * by) < 2 * side);
        image_center_square(&whole, side, &a);
        if (distance(&a, &square) > 1)
            fail_msg("%dx%d to %d: %.2f apart", width, height, side, distance(&a, &square));
        struct image none = {0};
        assert_int_equal(image_decode_square(&none, jpeg.data, jpeg.len * 9 / 10, side, &width, &height), -1);
        image_free(&im);
        image_free(&whole);
        image_free(&square);
        image_free(&a);
        buf_free(&jpeg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds_of_png), cmocka_unit_test(test_animated_png),
        cmocka_unit_test(test_webp),         cmocka_unit_test(test_orientation),
        cmocka_unit_test(test_exif_bounds),  cmocka_unit_test(test_exif_chunks),
        cmocka_unit_test(test_cmyk),         cmocka_unit_test(test_profiles_are_seen),
        cmocka_unit_test(test_square),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
