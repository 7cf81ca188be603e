/*
 * Pictures: 8-bit RGB, rows top to bottom, no padding. JPEG through libjpeg-turbo, PNG through libpng, WebP
 * through libwebp. A camera's orientation (EXIF) is applied; ICC profiles are ignored: values count as sRGB.
 * Transparent parts are on white. Refused: animations, more than 8 bits a channel, anything cut short or damaged.
 */
#ifndef ATELIER_COMMON_IMAGE_H
#define ATELIER_COMMON_IMAGE_H

#include "common/mem.h"
#include <stdbool.h>
#include <stdint.h>

#define IMAGE_MAX_PIXELS (256u << 20) /* default limit of width x height before anything is allocated */

struct image {
    int width, height;
    uint8_t *rgb; /* [height, width, 3], owned */
};
void image_free(struct image *im);
void image_alloc(struct image *im, int width, int height); /* undefined content */

/* Size from the headers alone, nothing decoded, as it will be shown. 0 or -1 (ERR_DATA). Formats are told apart by
 * content. */
int image_size(const void *data, size_t len, int *width, int *height);

/* Whether it comes with an ICC profile, which is ignored. */
bool image_has_profile(const void *data, size_t len);

/* Decodes to RGB; any libjpeg warning (truncation, bad data) is an error; scans are counted (100 at most).
 * `max_pixels`: 0 for the default. `scale_down`: 1, 2, 4 or 8, libjpeg's reduced decoding, to width / scale_down x
 * height / scale_down rounded down (ignored elsewhere). 0 or -1.
 */
int image_decode(struct image *im, const void *data, size_t len, uint64_t max_pixels, int scale_down);

/* The most that a picture can be reduced by while its shorter side keeps 2 * side pixels: 1, 2, 4 or 8. */
int image_reduction(int width, int height, int side);

/* The centred square at side x side pixels, averaged by area. Of a JPEG no more is decoded than that takes: reduced as
 * image_reduction says, the square alone. width, height: of the whole picture. 0 or -1. */
int image_decode_square(struct image *im, const void *data, size_t len, int side, int *width, int *height);

int image_encode_jpeg(const struct image *im, int quality, struct buf *out); /* 4:4:4, optimised */
int image_encode_png(const struct image *im, struct buf *out);

/* The part (x, y, w, h) of `in`, in fractional pixels, averaged by area to out_w x out_h (each output pixel is the
 * exact mean of what it covers). Out is allocated. */
void image_resize_area(const struct image *in, double x, double y, double w, double h, int out_w, int out_h,
                       struct image *out);

/* Pillow's bicubic (a = -0.5, antialiased, 8-bit, horizontal pass first with rounding between). Out is allocated. */
void image_resize_bicubic(const struct image *in, int out_w, int out_h, struct image *out);

void image_crop(const struct image *in, int x, int y, int w, int h, struct image *out); /* out is allocated */
void image_flip(struct image *im);                                                      /* left-right, in place */
void image_paste(struct image *canvas, const struct image *im, int x, int y);           /* clipped */

/* The largest centred square, averaged by area to size x size: what encode and the evaluations see. */
void image_center_square(const struct image *in, int size, struct image *out);

#endif
