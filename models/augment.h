/*
 * Random crops of training pictures (MODELS.md, 1 and 2). Every draw is random_philox(key, hi, 0): the same names, the
 * same crop. Out is allocated, size x size.
 */
#ifndef ATELIER_MODELS_AUGMENT_H
#define ATELIER_MODELS_AUGMENT_H

#include "common/image.h"

enum augment {
    AUGMENT_NONE,  /* the centred square, by area */
    AUGMENT_DVAE,  /* any square of the short side, resized to 9/8 .. 12/8 size, random crop, random flip */
    AUGMENT_PRIOR, /* a square near the centre, resized to 1 .. 9/8 size, random crop; no flip: pictures hold text */
};

void augment(const struct image *in, enum augment kind, int size, uint64_t key, uint64_t hi, struct image *out);

#endif
