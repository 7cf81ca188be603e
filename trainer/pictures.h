/* Batches of pictures out of a dataset, decoded side by side. */
#ifndef ATELIER_TRAINER_PICTURES_H
#define ATELIER_TRAINER_PICTURES_H

#include "common/image.h"
#include "common/record.h"
#include "models/augment.h"
#include "trainer/dataset.h"

struct picture {
    struct record record;
    struct image image; /* decoded, whole */
    uint64_t sample;    /* names the draws of its augmentation */
};

/* The next n records of the training order and their pictures. 0, or -1 with the record named. */
int pictures_next(struct dataset *d, uint64_t seed, uint64_t *position, struct picture *p, int n);

/* The first n kept records of the endpoint's order: how many there were, or -1. */
int pictures_first(struct dataset *d, struct picture *p, int n);

void pictures_free(struct picture *p, int n);

/* Pictures as size x size bytes [n, size, size, 3]. */
void pictures_bytes(const struct picture *p, int n, enum augment kind, int size, uint64_t key, uint8_t *out);

#endif
