/*
 * libFuzzer: pictures, JPEG with their EXIF, PNG and WebP: whole, reduced, and the square alone. What decodes has the
 * size that image_size says.
 */
#include "common/image.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_PIXELS (1u << 18)
#define SIDE 24

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image im;
    int width = 0, height = 0;
    bool sized = image_size(data, size, &width, &height) == 0;
    if (sized && (width < 1 || height < 1))
        abort();
    if (image_decode(&im, data, size, MAX_PIXELS, 1) == 0) {
        if (!sized || im.width != width || im.height != height)
            abort();
        image_free(&im);
    }
    if (image_decode(&im, data, size, MAX_PIXELS, 2) == 0)
        image_free(&im);
    if (sized && (int64_t)width * height <= MAX_PIXELS &&
        image_decode_square(&im, data, size, SIDE, &width, &height) == 0) {
        if (im.width != SIDE || im.height != SIDE)
            abort();
        image_free(&im);
    }
    return 0;
}
