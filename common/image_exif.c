/* A camera's orientation: where EXIF notes it (EXIF 2.3, 4.6.4), and turning a picture by it. */
#include "common/image_private.h"
#include <string.h>

static unsigned number(const uint8_t *p, int bytes, bool little)
{
    unsigned value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | p[little ? bytes - 1 - i : i];
    return value;
}

int exif_orientation(const uint8_t *tiff, size_t len)
{
    enum { HEADER = 8, COUNT = 2, ENTRY = 12, TAG = 0x0112, SHORT = 3 };
    if (len < HEADER + COUNT)
        return 1;
    bool little = tiff[0] == 'I';
    size_t at = number(tiff + 4, 4, little);
    if (at > len - COUNT)
        return 1;
    size_t entries = number(tiff + at, COUNT, little);
    for (at += COUNT; entries > 0 && at + ENTRY <= len; entries--, at += ENTRY) {
        if (number(tiff + at, 2, little) != TAG || number(tiff + at + 2, 2, little) != SHORT)
            continue;
        unsigned value = number(tiff + at + 8, 2, little);
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

void image_orient(struct image *im, int orientation)
{
    if (orientation == 1)
        return;
    int width = im->width, height = im->height;
    bool swap = orientation >= 5;
    bool right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    bool bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    struct image to;
    image_alloc(&to, swap ? height : width, swap ? width : height);
    for (int y = 0; y < to.height; y++)
        for (int x = 0; x < to.width; x++) {
            int column = swap ? y : x, row = swap ? x : y;
            column = right ? width - 1 - column : column;
            row = bottom ? height - 1 - row : row;
            memcpy(to.rgb + ((size_t)y * to.width + x) * 3, im->rgb + ((size_t)row * width + column) * 3, 3);
        }
    image_free(im);
    *im = to;
}
