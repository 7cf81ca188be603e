/*
 * Pictures by their first bytes: JPEG (image_jpeg.c), PNG through libpng, WebP through libwebp.
 */
#include "common/err.h"
#include "common/image_private.h"
#include <errno.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>
#include <webp/decode.h>

/* Of PNG and WebP, as stored. */
struct header {
    int width, height, orientation;
};

static bool is_png(const void *data, size_t len)
{
    return len >= 8 && !png_sig_cmp(data, 0, 8);
}

static bool is_jpeg(const void *data, size_t len)
{
    return len >= 3 && !memcmp(data, "\xff\xd8\xff", 3);
}

static bool is_webp(const void *data, size_t len)
{
    return len >= 12 && !memcmp(data, "RIFF", 4) && !memcmp((const uint8_t *)data + 8, "WEBP", 4);
}

static int unknown_format(size_t len)
{
    return err_set(ERR_DATA, len ? "neither JPEG, PNG nor WebP" : "empty");
}

int image_check_pixels(uint64_t width, uint64_t height, uint64_t limit)
{
    if (width && height && width * height <= limit)
        return 0;
    return err_set(ERR_DATA, "%llux%llu pixels, limit %llu", (unsigned long long)width, (unsigned long long)height,
                   (unsigned long long)limit);
}

/* Size as stored, and what is refused: more than 8 bits, which would be cut by a rule of the library's, and animations,
 * of which nobody said which picture is meant. */
static int png_size(const uint8_t *p, size_t len, struct header *h)
{
    enum { HEADER = 33, CHUNK = 12 };
    if (len < HEADER || memcmp(p + 12, "IHDR", 4) != 0)
        return err_set(ERR_DATA, "PNG: no header");
    uint32_t width = png_get_uint_32(p + 16), height = png_get_uint_32(p + 20);
    if (!width || !height || width > PNG_UINT_31_MAX || height > PNG_UINT_31_MAX)
        return err_set(ERR_DATA, "PNG: %ux%u pixels", width, height);
    if (p[24] > 8)
        return err_set(ERR_DATA, "PNG: %u bits a channel, 8 at most are read", p[24]);
    *h = (struct header){(int)width, (int)height, 1};
    for (size_t at = HEADER, body; at + CHUNK <= len; at += CHUNK + body) {
        body = png_get_uint_32(p + at);
        if (memcmp(p + at + 4, "acTL", 4) == 0)
            return err_set(ERR_DATA, "PNG: animated");
        if (memcmp(p + at + 4, "eXIf", 4) == 0 && body <= len - at - CHUNK)
            h->orientation = exif_orientation(p + at + 8, body);
    }
    return 0;
}

/* The orientation in a WebP's EXIF chunk, which some writers begin as JPEG's segment begins. */
static int webp_orientation(const uint8_t *p, size_t len)
{
    enum { HEADER = 12, CHUNK = 8, SEGMENT = 6 };
    for (size_t at = HEADER, body; at + CHUNK <= len; at += CHUNK + body + body % 2) {
        const uint8_t *size = p + at + 4;
        body = (size_t)size[0] | (size_t)size[1] << 8 | (size_t)size[2] << 16 | (size_t)size[3] << 24;
        if (memcmp(p + at, "EXIF", 4) != 0 || body > len - at - CHUNK)
            continue;
        size_t skip = body >= SEGMENT && memcmp(p + at + CHUNK, "Exif\0", SEGMENT) == 0 ? SEGMENT : 0;
        return exif_orientation(p + at + CHUNK + skip, body - skip);
    }
    return 1;
}

static int webp_size(const void *data, size_t len, struct header *h)
{
    WebPBitstreamFeatures f;
    VP8StatusCode status = WebPGetFeatures(data, len, &f);
    if (status != VP8_STATUS_OK)
        return err_set(ERR_DATA, "WebP: %s", status == VP8_STATUS_NOT_ENOUGH_DATA ? "cut short" : "damaged header");
    if (f.has_animation)
        return err_set(ERR_DATA, "WebP: animated");
    *h = (struct header){f.width, f.height, webp_orientation(data, len)};
    return 0;
}

/* A picture for which memory is gone is not damaged. */
static int read_result(int rc)
{
    if (rc < 0 && errno == ENOMEM)
        mem_gone(0);
    return rc;
}

int image_size(const void *data, size_t len, int *width, int *height)
{
    struct header h;
    errno = 0;
    if (is_jpeg(data, len))
        return read_result(jpeg_size(data, len, width, height));
    if (!is_png(data, len) && !is_webp(data, len))
        return unknown_format(len);
    if (is_png(data, len) ? png_size(data, len, &h) : webp_size(data, len, &h))
        return -1;
    *width = h.orientation >= 5 ? h.height : h.width;
    *height = h.orientation >= 5 ? h.width : h.height;
    return 0;
}

bool image_has_profile(const void *data, size_t len)
{
    enum { HEADERS = 1 << 17, WEBP_EXTENDED = 21, WEBP_PROFILE = 0x20 }; /* a profile is before the pixels */
    const uint8_t *p = data;
    size_t first = len < HEADERS ? len : HEADERS;
    if (is_jpeg(data, len))
        return memmem(p, first, "ICC_PROFILE", sizeof "ICC_PROFILE") != NULL;
    if (is_png(data, len))
        return memmem(p, first, "iCCP", 4) != NULL;
    return is_webp(data, len) && len >= WEBP_EXTENDED && memcmp(p + 12, "VP8X", 4) == 0 && p[20] & WEBP_PROFILE;
}

static int png_decode(struct image *im, const void *data, size_t len, uint64_t limit)
{
    struct header h;
    if (png_size(data, len, &h))
        return -1;
    png_image p = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_memory(&p, data, len))
        return err_set(ERR_DATA, "PNG: %s", p.message);
    p.format = PNG_FORMAT_RGB;
    uint8_t *pixels = NULL;
    if (!image_check_pixels(p.width, p.height, limit))
        pixels = mem_try((size_t)p.width * p.height * 3, limit * 3, "picture");
    if (!pixels) {
        png_image_free(&p);
        return -1;
    }
    png_color white = {255, 255, 255}; /* transparent parts are on white */
    if (!png_image_finish_read(&p, &white, pixels, 0, NULL) || p.warning_or_error) {
        err_set(ERR_DATA, "PNG: %s", p.message);
        png_image_free(&p);
        free(pixels);
        return -1;
    }
    *im = (struct image){(int)p.width, (int)p.height, pixels};
    image_orient(im, h.orientation);
    return 0;
}

/* [n, 4] to [n, 3] in place: transparent parts are on white. */
static void onto_white(uint8_t *pixels, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < 3; c++) {
            int alpha = pixels[i * 4 + 3];
            pixels[i * 3 + c] = (uint8_t)((pixels[i * 4 + c] * alpha + 255 * (255 - alpha) + 127) / 255);
        }
}

static int webp_decode(struct image *im, const void *data, size_t len, uint64_t limit)
{
    WebPDecoderConfig c;
    struct header h;
    if (webp_size(data, len, &h) || image_check_pixels((uint64_t)h.width, (uint64_t)h.height, limit))
        return -1;
    WebPInitDecoderConfig(&c);
    size_t n = (size_t)h.width * (size_t)h.height;
    uint8_t *pixels = mem_try(n * 4, limit * 4, "picture");
    if (!pixels)
        return -1;
    c.output.colorspace = MODE_RGBA;
    c.output.is_external_memory = 1;
    c.output.u.RGBA.rgba = pixels;
    c.output.u.RGBA.stride = h.width * 4;
    c.output.u.RGBA.size = n * 4;
    VP8StatusCode status = WebPDecode(data, len, &c);
    if (status != VP8_STATUS_OK) {
        free(pixels);
        return err_set(ERR_DATA, "WebP: %s", status == VP8_STATUS_NOT_ENOUGH_DATA ? "cut short" : "damaged");
    }
    onto_white(pixels, n);
    *im = (struct image){h.width, h.height, xrealloc(pixels, n * 3)};
    image_orient(im, h.orientation);
    return 0;
}

int image_decode(struct image *im, const void *data, size_t len, uint64_t max_pixels, int scale_down)
{
    uint64_t limit = max_pixels ? max_pixels : IMAGE_MAX_PIXELS;
    errno = 0;
    if (is_jpeg(data, len))
        return read_result(jpeg_decode(im, data, len, limit, &(struct jpeg_plan){.scale_down = scale_down}));
    if (is_png(data, len))
        return read_result(png_decode(im, data, len, limit));
    if (is_webp(data, len))
        return read_result(webp_decode(im, data, len, limit));
    return unknown_format(len);
}

int image_reduction(int width, int height, int side)
{
    int least = width < height ? width : height, by = 1;
    while (by < 8 && least / (by * 2) >= 2 * side)
        by *= 2;
    return by;
}

int image_decode_square(struct image *im, const void *data, size_t len, int side, int *width, int *height)
{
    if (image_size(data, len, width, height))
        return -1;
    const struct jpeg_plan plan = {image_reduction(*width, *height, side), side};
    errno = 0;
    if (is_jpeg(data, len))
        return read_result(jpeg_decode(im, data, len, IMAGE_MAX_PIXELS, &plan));
    struct image whole;
    if (image_decode(&whole, data, len, 0, 1))
        return -1;
    image_center_square(&whole, side, im);
    image_free(&whole);
    return 0;
}

int image_encode_png(const struct image *im, struct buf *out)
{
    png_image p = {.version = PNG_IMAGE_VERSION,
                   .width = (png_uint_32)im->width,
                   .height = (png_uint_32)im->height,
                   .format = PNG_FORMAT_RGB};
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(p);
    buf_reserve(out, size);
    if (!png_image_write_to_memory(&p, out->data + out->len, &size, 0, im->rgb, 0, NULL))
        return err_set(ERR_DATA, "PNG: %s", p.message);
    out->len += size;
    return 0;
}
