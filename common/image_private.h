/*
 * What the files of the picture codecs know of each other: image_codec.c (formats told apart, PNG, WebP) and
 * image_jpeg.c.
 */
#ifndef ATELIER_COMMON_IMAGE_PRIVATE_H
#define ATELIER_COMMON_IMAGE_PRIVATE_H

#include "common/image.h"

/* Fails unless 0 < width * height <= limit. */
int image_check_pixels(uint64_t width, uint64_t height, uint64_t limit);

struct jpeg_plan {
    int scale_down; /* 1, 2, 4, 8 */
    int square;     /* not 0: the centred square, at this size; of the rest no more is decoded than entropy coding */
};
int jpeg_size(const void *data, size_t len, int *width, int *height);
int jpeg_decode(struct image *im, const void *data, size_t len, uint64_t limit, const struct jpeg_plan *plan);

#endif
