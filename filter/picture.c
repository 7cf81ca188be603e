/* Checks of the encoded picture (picture.h). */
#include "filter/picture.h"
#include "common/err.h"
#include "common/image.h"
#include <stdio.h>
#include <string.h>

#define JPEG_MAX_SCANS 100

/* Markers of a JPEG file (ITU T.81, table B.1). */
enum { STUFFED = 0x00, TEM = 0x01, RST0 = 0xD0, RST7 = 0xD7, SOI = 0xD8, EOI = 0xD9, SOS = 0xDA };

/* Walks the segments to the end mark. NULL, or what is wrong. Whether the scans hold all blocks shows in decoding. */
static const char *check_jpeg(const uint8_t *p, size_t len)
{
    int scans = 0;
    for (size_t i = 2; i + 1 < len;) {
        const uint8_t *mark = memchr(p + i, 0xFF, len - 1 - i);
        if (!mark)
            break;
        if (scans == 0 && mark != p + i)
            return "bytes between segments";
        i = (size_t)(mark - p) + 1;
        uint8_t code = p[i];
        if (code == 0xFF) /* fill */
            continue;
        i++;
        if (code == STUFFED || code == TEM || code == SOI || (code >= RST0 && code <= RST7))
            continue;
        if (code == EOI)
            return NULL;
        if (code == SOS && ++scans > JPEG_MAX_SCANS)
            return "more than 100 scans";
        size_t length = i + 1 < len ? (size_t)p[i] << 8 | p[i + 1] : 0;
        if (length < 2 || length > len - i)
            return "truncated segment";
        i += length;
    }
    return "truncated scan";
}

static uint32_t big_endian(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Walks the chunks to IEND; their checksums are verified in decoding. */
static const char *check_png(const uint8_t *p, size_t len)
{
    bool pixels = false;
    for (size_t i = 8; len - i >= 12;) {
        size_t length = big_endian(p + i);
        if (length > len - i - 12)
            break;
        if (!memcmp(p + i + 4, "IEND", 4))
            return pixels ? NULL : "no pixels";
        pixels = pixels || !memcmp(p + i + 4, "IDAT", 4);
        i += 12 + length;
    }
    return "truncated chunk";
}

bool picture_check(const void *data, size_t len, const struct picture_limits *limits, int *width, int *height,
                   char reason[PICTURE_REASON])
{
    *width = *height = 0;
    if (image_size(data, len, width, height) < 0) {
        snprintf(reason, PICTURE_REASON, "image: %s", err_text());
        return false;
    }
    int w = *width, h = *height;
    if ((uint64_t)w * (uint64_t)h > limits->max_pixels || w < limits->min_side || h < limits->min_side) {
        bool many = (uint64_t)w * (uint64_t)h > limits->max_pixels;
        snprintf(reason, PICTURE_REASON, "image: %dx%d, %s", w, h, many ? "too many pixels" : "too small");
        return false;
    }
    const char *damage = *(const uint8_t *)data == 0xFF ? check_jpeg(data, len) : check_png(data, len);
    if (damage) {
        snprintf(reason, PICTURE_REASON, "image: %s", damage);
        return false;
    }
    if (limits->decode) {
        struct image im = {0};
        int result = image_decode(&im, data, len, limits->max_pixels, 1);
        image_free(&im);
        if (result < 0) {
            snprintf(reason, PICTURE_REASON, "image: %s", err_text());
            return false;
        }
    }
    if (w < limits->aspect_low * h || w > limits->aspect_high * h) {
        snprintf(reason, PICTURE_REASON, "aspect: %dx%d", w, h);
        return false;
    }
    return true;
}
