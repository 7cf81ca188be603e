/* JPEG and PNG: sizes from headers, bounded decoding, encoding. */
#include "common/err.h"
#include "common/image.h"
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h> /* needs stdio.h before it */

#define JPEG_MAX_SCANS 100 /* a progressive file can claim thousands, each costing a pass over the picture */

struct jpeg_guard {
    struct jpeg_error_mgr base; /* first: libjpeg hands it back */
    struct jpeg_progress_mgr progress;
    jmp_buf escape;
    char text[JMSG_LENGTH_MAX];
};

static _Noreturn void jpeg_fail(j_common_ptr info)
{
    struct jpeg_guard *g = (struct jpeg_guard *)info->err;
    g->base.format_message(info, g->text);
    longjmp(g->escape, 1);
}

/* Level -1 is a warning: the data is damaged and libjpeg would go on with made-up pixels. */
static void jpeg_message(j_common_ptr info, int level)
{
    if (level < 0)
        jpeg_fail(info);
}

static void jpeg_count_scans(j_common_ptr info)
{
    struct jpeg_guard *g = (struct jpeg_guard *)info->err;
    if (info->is_decompressor && ((j_decompress_ptr)info)->input_scan_number > JPEG_MAX_SCANS) {
        snprintf(g->text, sizeof g->text, "more than %d scans", JPEG_MAX_SCANS);
        longjmp(g->escape, 1);
    }
}

static void jpeg_guard_init(struct jpeg_guard *g)
{
    jpeg_std_error(&g->base);
    g->base.error_exit = jpeg_fail;
    g->base.emit_message = jpeg_message;
    g->progress = (struct jpeg_progress_mgr){.progress_monitor = jpeg_count_scans};
    g->text[0] = 0;
}

static bool is_png(const void *data, size_t len)
{
    return len >= 8 && !png_sig_cmp(data, 0, 8);
}

static bool is_jpeg(const void *data, size_t len)
{
    return len >= 3 && !memcmp(data, "\xff\xd8\xff", 3);
}

static int unknown_format(size_t len)
{
    return err_set(ERR_DATA, len ? "neither JPEG nor PNG" : "empty");
}

static int check_pixels(uint64_t width, uint64_t height, uint64_t limit)
{
    if (width && height && width * height <= limit)
        return 0;
    return err_set(ERR_DATA, "%llux%llu pixels, limit %llu", (unsigned long long)width, (unsigned long long)height,
                   (unsigned long long)limit);
}

static int jpeg_size(const void *data, size_t len, int *width, int *height)
{
    struct jpeg_guard g;
    struct jpeg_decompress_struct d;
    jpeg_guard_init(&g);
    d.err = &g.base;
    jpeg_create_decompress(&d);
    if (setjmp(g.escape)) {
        jpeg_destroy_decompress(&d);
        return err_set(ERR_DATA, "JPEG: %s", g.text);
    }
    jpeg_mem_src(&d, data, len);
    jpeg_read_header(&d, TRUE);
    *width = (int)d.image_width;
    *height = (int)d.image_height;
    jpeg_destroy_decompress(&d);
    return 0;
}

int image_size(const void *data, size_t len, int *width, int *height)
{
    if (is_jpeg(data, len))
        return jpeg_size(data, len, width, height);
    if (!is_png(data, len))
        return unknown_format(len);
    const uint8_t *p = data;
    if (len < 33 || memcmp(p + 12, "IHDR", 4) != 0)
        return err_set(ERR_DATA, "PNG: no header");
    uint32_t w = png_get_uint_32(p + 16), h = png_get_uint_32(p + 20);
    if (!w || !h || w > PNG_UINT_31_MAX || h > PNG_UINT_31_MAX)
        return err_set(ERR_DATA, "PNG: %ux%u pixels", w, h);
    *width = (int)w;
    *height = (int)h;
    return 0;
}

/* In place, [n, 4] to [n, 3]. Adobe's files keep the inks inverted. */
static void cmyk_to_rgb(uint8_t *row, int n, bool inverted)
{
    for (int i = 0; i < n; i++) {
        int k = inverted ? row[i * 4 + 3] : 255 - row[i * 4 + 3];
        for (int c = 0; c < 3; c++) {
            int ink = inverted ? row[i * 4 + c] : 255 - row[i * 4 + c];
            row[i * 3 + c] = (uint8_t)((ink * k + 127) / 255);
        }
    }
}

static int jpeg_decode(struct image *im, const void *data, size_t len, uint64_t limit, int scale_down)
{
    struct jpeg_guard g;
    struct jpeg_decompress_struct d;
    uint8_t *volatile pixels = NULL;
    uint8_t *volatile row = NULL;
    jpeg_guard_init(&g);
    d.err = &g.base;
    jpeg_create_decompress(&d);
    if (setjmp(g.escape)) {
        jpeg_destroy_decompress(&d);
        free(pixels);
        free(row);
        return err_set(ERR_DATA, "JPEG: %s", g.text);
    }
    d.progress = &g.progress;
    jpeg_mem_src(&d, data, len);
    jpeg_read_header(&d, TRUE);
    if (check_pixels(d.image_width, d.image_height, limit)) {
        jpeg_destroy_decompress(&d);
        return -1;
    }
    bool cmyk = d.jpeg_color_space == JCS_CMYK || d.jpeg_color_space == JCS_YCCK;
    d.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    d.scale_num = 1;
    d.scale_denom = (unsigned)scale_down;
    jpeg_start_decompress(&d);
    int width = (int)d.output_width, height = (int)d.output_height;
    size_t stride = (size_t)width * 3;
    pixels = mem_try(stride * height, limit * 3, "picture");
    row = cmyk ? mem_try((size_t)width * 4, limit * 4, "picture row") : NULL;
    if (!pixels || (cmyk && !row)) {
        jpeg_destroy_decompress(&d);
        free(pixels);
        free(row);
        return -1;
    }
    while (d.output_scanline < d.output_height) {
        uint8_t *to = pixels + d.output_scanline * stride, *into = cmyk ? row : to;
        jpeg_read_scanlines(&d, &into, 1);
        if (cmyk) {
            cmyk_to_rgb(row, width, d.saw_Adobe_marker);
            memcpy(to, row, stride);
        }
    }
    jpeg_finish_decompress(&d);
    jpeg_destroy_decompress(&d);
    free(row);
    *im = (struct image){width, height, pixels};
    return 0;
}

static int png_decode(struct image *im, const void *data, size_t len, uint64_t limit)
{
    png_image p = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_memory(&p, data, len))
        return err_set(ERR_DATA, "PNG: %s", p.message);
    p.format = PNG_FORMAT_RGB;
    uint8_t *pixels = NULL;
    if (!check_pixels(p.width, p.height, limit))
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
    return 0;
}

int image_decode(struct image *im, const void *data, size_t len, uint64_t max_pixels, int scale_down)
{
    uint64_t limit = max_pixels ? max_pixels : IMAGE_MAX_PIXELS;
    if (is_jpeg(data, len))
        return jpeg_decode(im, data, len, limit, scale_down);
    if (is_png(data, len))
        return png_decode(im, data, len, limit);
    return unknown_format(len);
}

int image_encode_jpeg(const struct image *im, int quality, struct buf *out)
{
    struct jpeg_guard g;
    struct jpeg_compress_struct c;
    unsigned char *bytes = NULL;
    unsigned long size = 0;
    jpeg_guard_init(&g);
    c.err = &g.base;
    jpeg_create_compress(&c);
    if (setjmp(g.escape)) {
        jpeg_destroy_compress(&c);
        free(bytes);
        return err_set(ERR_DATA, "JPEG: %s", g.text);
    }
    jpeg_mem_dest(&c, &bytes, &size);
    c.image_width = (JDIMENSION)im->width;
    c.image_height = (JDIMENSION)im->height;
    c.input_components = 3;
    c.in_color_space = JCS_RGB;
    jpeg_set_defaults(&c);
    jpeg_set_quality(&c, quality, TRUE);
    c.optimize_coding = TRUE;
    c.comp_info[0].h_samp_factor = c.comp_info[0].v_samp_factor = 1;
    jpeg_start_compress(&c, TRUE);
    while (c.next_scanline < c.image_height) {
        JSAMPROW row = im->rgb + (size_t)c.next_scanline * im->width * 3;
        jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    buf_append(out, bytes, size);
    free(bytes);
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
