/*
 * JPEG through libjpeg-turbo: sizes from headers, bounded decoding, orientation, encoding.
 */
#include "common/err.h"
#include "common/image_private.h"
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

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

static int orientation_of(const struct jpeg_decompress_struct *d)
{
    enum { HEADER = 6 };
    for (const struct jpeg_marker_struct *m = d->marker_list; m; m = m->next)
        if (m->marker == JPEG_APP0 + 1 && m->data_length >= HEADER && memcmp(m->data, "Exif\0", HEADER) == 0)
            return exif_orientation(m->data + HEADER, m->data_length - HEADER);
    return 1;
}

static void read_header(struct jpeg_decompress_struct *d, const void *data, size_t len)
{
    jpeg_save_markers(d, JPEG_APP0 + 1, 0xFFFF);
    jpeg_mem_src(d, data, len);
    jpeg_read_header(d, TRUE);
}

int jpeg_size(const void *data, size_t len, int *width, int *height)
{
    struct jpeg_guard g;
    struct jpeg_decompress_struct d = {.err = &g.base};
    jpeg_guard_init(&g);
    if (setjmp(g.escape)) {
        jpeg_destroy_decompress(&d);
        return err_set(ERR_DATA, "JPEG: %s", g.text);
    }
    jpeg_create_decompress(&d);
    read_header(&d, data, len);
    bool swap = orientation_of(&d) >= 5;
    *width = (int)(swap ? d.image_height : d.image_width);
    *height = (int)(swap ? d.image_width : d.image_height);
    jpeg_destroy_decompress(&d);
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

/* The part of the reduced picture that is read, and what is wanted of it: for a square, a part that begins and ends
 * within pixels. The library may begin further left and end further right. */
struct part {
    JDIMENSION top, width, height;
    JDIMENSION before;                /* columns that come and are not wanted */
    double left_part, top_part, side; /* of the square, in pixels of the window */
};

/* Reduced pixels that are partly beyond the picture's far edges are left out: a crop would take them for whole ones. */
static struct part whole_part(const struct jpeg_decompress_struct *d, int scale_down)
{
    JDIMENSION by = (JDIMENSION)scale_down, width = d->image_width / by, height = d->image_height / by;
    return (struct part){.width = width ? width : 1, .height = height ? height : 1};
}

static struct part square_part(struct jpeg_decompress_struct *d, int scale_down)
{
    JDIMENSION width = d->image_width, height = d->image_height, by = (JDIMENSION)scale_down;
    JDIMENSION side = width < height ? width : height, x = (width - side) / 2, y = (height - side) / 2;
    JDIMENSION left = x / by, right = (x + side + by - 1) / by;
    struct part w = {.top = y / by, .width = right - left, .height = (y + side + by - 1) / by - y / by};
    w.left_part = (double)x / by - left;
    w.top_part = (double)y / by - w.top;
    w.side = (double)side / by;
    JDIMENSION from = left, given = w.width;
    if (given < d->output_width)
        jpeg_crop_scanline(d, &from, &given);
    w.before = left - from;
    return w;
}

/* Rows of the window to `pixels`; `row` has room for one of what the library gives, in four colours. */
static void read_part(struct jpeg_decompress_struct *d, const struct part *w, uint8_t *pixels, uint8_t *row)
{
    bool cmyk = d->out_color_space == JCS_CMYK;
    bool direct = !cmyk && d->output_width == w->width;
    size_t stride = (size_t)w->width * 3;
    if (w->top > 0)
        jpeg_skip_scanlines(d, w->top);
    for (JDIMENSION y = 0; y < w->height; y++, pixels += stride) {
        JSAMPROW into = direct ? pixels : row;
        jpeg_read_scanlines(d, &into, 1);
        if (cmyk)
            cmyk_to_rgb(row, (int)d->output_width, d->saw_Adobe_marker);
        if (!direct)
            memcpy(pixels, row + (size_t)w->before * 3, stride);
    }
    /* Damage further down is a reject too. The library leaves unread what is skipped up to the end, so the last row is
     * asked for. */
    JDIMENSION left = d->output_height - d->output_scanline;
    if (left > 1)
        jpeg_skip_scanlines(d, left - 1);
    if (left > 0)
        jpeg_read_scanlines(d, &row, 1);
}

int jpeg_decode(struct image *im, const void *data, size_t len, uint64_t limit, const struct jpeg_plan *plan)
{
    struct jpeg_guard g;
    struct jpeg_decompress_struct d = {.err = &g.base};
    uint8_t *volatile pixels = NULL;
    uint8_t *volatile row = NULL;
    jpeg_guard_init(&g);
    if (setjmp(g.escape)) {
        err_set(ERR_DATA, "JPEG: %s", g.text);
        goto fail;
    }
    jpeg_create_decompress(&d);
    d.progress = &g.progress;
    read_header(&d, data, len);
    if (image_check_pixels(d.image_width, d.image_height, limit))
        goto fail;
    int orientation = orientation_of(&d);
    if (plan->square > 0 && plan->scale_down > 1 && scans_square(im, &d, data, len, plan->scale_down, plan->square)) {
        jpeg_destroy_decompress(&d);
        image_orient(im, orientation);
        return 0;
    }
    bool cmyk = d.jpeg_color_space == JCS_CMYK || d.jpeg_color_space == JCS_YCCK;
    d.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    d.scale_num = 1;
    d.scale_denom = (unsigned)plan->scale_down;
    jpeg_start_decompress(&d);
    row = mem_try((size_t)d.output_width * 4, limit * 4, "picture row");
    struct part w = plan->square > 0 ? square_part(&d, plan->scale_down) : whole_part(&d, plan->scale_down);
    pixels = row ? mem_try((size_t)w.width * w.height * 3, limit * 3, "picture") : NULL;
    if (!pixels)
        goto fail;
    read_part(&d, &w, pixels, row);
    jpeg_finish_decompress(&d);
    jpeg_destroy_decompress(&d);
    free(row);
    struct image read = {(int)w.width, (int)w.height, pixels};
    if (plan->square > 0) {
        image_resize_area(&read, w.left_part, w.top_part, w.side, w.side, plan->square, plan->square, im);
        image_free(&read);
    } else {
        *im = read;
    }
    image_orient(im, orientation);
    return 0;
fail:
    jpeg_destroy_decompress(&d);
    free(pixels);
    free(row);
    return -1;
}

int image_encode_jpeg(const struct image *im, int quality, struct buf *out)
{
    struct jpeg_guard g;
    struct jpeg_compress_struct c = {.err = &g.base};
    unsigned char *bytes = NULL;
    unsigned long size = 0;
    jpeg_guard_init(&g);
    if (setjmp(g.escape)) {
        jpeg_destroy_compress(&c);
        free(bytes);
        return err_set(ERR_DATA, "JPEG: %s", g.text);
    }
    jpeg_create_compress(&c);
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
