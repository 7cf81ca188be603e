/* libFuzzer: pictures. Sizes, whole, reduced and as squares; whole when the square was accepted, and as large as said.
 */
#include "common/image.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { PIXELS = 1 << 18 };
    struct image im;
    int width, height;
    if (image_size(data, size, &width, &height) || (int64_t)width * height > PIXELS)
        return 0;
    int least = width < height ? width : height, side = least / 4 > 0 ? least / 4 : 1;
    bool square = image_decode_square(&im, data, size, side, &width, &height) == 0;
    if (square)
        image_free(&im);
    bool whole = image_decode(&im, data, size, PIXELS, 1) == 0;
    if ((square && !whole) || (whole && (im.width != width || im.height != height)))
        abort();
    if (whole)
        image_free(&im);
    if (image_decode(&im, data, size, PIXELS, 2) == 0)
        image_free(&im);
    return 0;
}
