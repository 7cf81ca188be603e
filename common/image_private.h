/*
 * What the files of the picture codecs know of each other: image_codec.c (formats told apart, PNG, WebP),
 * image_exif.c (orientation), image_jpeg.c (JPEG through libjpeg-turbo), image_scans.c and image_square.c (large JPEGs
 * to small squares).
 */
#ifndef ATELIER_COMMON_IMAGE_PRIVATE_H
#define ATELIER_COMMON_IMAGE_PRIVATE_H

#include "common/image.h"
#include <stdio.h>

#include <jpeglib.h> /* needs stdio.h before it */

/* Fails unless 0 < width * height <= limit. */
int image_check_pixels(uint64_t width, uint64_t height, uint64_t limit);

struct jpeg_plan {
    int scale_down; /* 1, 2, 4, 8 */
    int square;     /* not 0: the centred square, at this size; of the rest no more is decoded than entropy coding */
};
int jpeg_size(const void *data, size_t len, int *width, int *height);
int jpeg_decode(struct image *im, const void *data, size_t len, uint64_t limit, const struct jpeg_plan *plan);

/* One axis of an area resize: output i is the mean over [start + i * length / out, start + (i + 1) * length / out), of
 * `in` pixels. One allocation: free the array. */
struct image_span {
    int first, count;
    float *weight; /* [count], sum 1 */
};
struct image_span *image_spans(double start, double length, int in, int out);

/* ---- image_exif.c ---- */

/* What EXIF says in its TIFF form, 1 .. 8; 1, upright, where it says nothing or makes no sense. */
int exif_orientation(const uint8_t *tiff, size_t len);
/* Turns and mirrors, so that the first row is at the top. */
void image_orient(struct image *im, int orientation);

/* ---- image_scans.c ---- */

/* The centred square of a JPEG whose header `d` has read, at side x side pixels, decoded reduced by `scale_down` (2, 4
 * or 8). All entropy-coded data is decoded, and only what libjpeg would take without a warning is taken: false, with
 * nothing in `im`, leaves the file to libjpeg, be it damaged or of a kind that is not known here. */
bool scans_square(struct image *im, const struct jpeg_decompress_struct *d, const void *data, size_t len,
                  int scale_down, int side);

/* ---- image_square.c: blocks of coefficients to the square, one row of MCUs after the other ---- */

struct square;

/* NULL: the sampling factors are none of those known here. */
struct square *square_new(const struct jpeg_decompress_struct *d, int scale_down, int side);
void square_free(struct square *s);
/* What of the picture is looked at, in MCUs: [left, right) x [top, bottom). */
struct square_window {
    int left, top, right, bottom;
};
struct square_window square_window(const struct square *s);
/* A block of the window's: `column` is counted in the component's blocks from the window's left, `row` from the top of
 * the MCU. block: dequantised, in natural order; bit i of `set` says that [i] may be other than 0, bit 0 is always set.
 * The block is all 0 afterwards. */
void square_block(struct square *s, int component, int column, int row, float block[64], uint64_t set);
void square_row_done(struct square *s, int mcu_row);
void square_take(struct square *s, struct image *im);

#endif
