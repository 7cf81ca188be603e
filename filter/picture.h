/*
 * Checks of the encoded picture: its header and its structure, without decoding (a scan for markers, at the speed of
 * memory), or by decoding it whole.
 */
#ifndef ATELIER_FILTER_PICTURE_H
#define ATELIER_FILTER_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct picture_limits {
    double aspect_low, aspect_high; /* of width / height, both allowed */
    int min_side;                   /* pixels */
    uint64_t max_pixels;            /* width x height */
    bool decode;                    /* find what only decoding shows: damage within the scans */
};

#define PICTURE_REASON 160 /* bytes */

/* True when the picture passes; else `reason` is "image: ..." or "aspect: 640x200". Width and height are set where the
 * header could be read, else 0. */
bool picture_check(const void *data, size_t len, const struct picture_limits *limits, int *width, int *height,
                   char reason[PICTURE_REASON]);

#endif
