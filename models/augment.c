/* Random crops of training pictures. */
#include "models/augment.h"
#include "common/random.h"
#include <math.h>

static int between(double low, double high, uint32_t word)
{
    return (int)floor(low + (high - low + 1) * random_unit(word));
}

void augment(const struct image *in, enum augment kind, int size, uint64_t key, uint64_t hi, struct image *out)
{
    if (kind == AUGMENT_NONE) {
        image_center_square(in, size, out);
        return;
    }
    struct random4 a = random_philox(key, hi, 0), b = random_philox(key, hi, 1);
    int side = in->width < in->height ? in->width : in->height;
    double slack_low = kind == AUGMENT_DVAE ? 0 : 3 / 8.0, slack_high = kind == AUGMENT_DVAE ? 1 : 5 / 8.0;
    int slack = in->width + in->height - 2 * side;
    int offset = (int)floor(slack * (slack_low + (slack_high - slack_low) * random_unit(a.v[0])) + 0.5);

    double low = kind == AUGMENT_DVAE ? 9 / 8.0 : 1, high = kind == AUGMENT_DVAE ? 12 / 8.0 : 9 / 8.0;
    int least = (int)fmin(side, low * size), most = (int)fmin(side, high * size);
    int target = between(least, most, a.v[1]);
    target = target < size ? size : target; /* a picture smaller than asked for is enlarged */

    struct image square;
    image_resize_area(in, in->width > side ? offset : 0, in->height > side ? offset : 0, side, side, target, target,
                      &square);
    image_crop(&square, between(0, target - size, a.v[2]), between(0, target - size, a.v[3]), size, size, out);
    image_free(&square);
    if (kind == AUGMENT_DVAE && b.v[0] & 1)
        image_flip(out);
}
