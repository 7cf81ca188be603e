/*
 * How near pictures come to the real drawings that their captions name (atelier-heldout): among all drawings, and among
 * the skin tones of one family.
 */
#ifndef ATELIER_PIPELINES_HELDOUT_H
#define ATELIER_PIPELINES_HELDOUT_H

#include <stdint.h>

struct drawing {
    char *caption, *family; /* family: the caption without its skin tone; NULL when it has none */
    uint8_t *rgb;           /* [side, side, 3] */
};

/* All of one side. Zero-initialise; drawings_free at the end. */
struct drawings {
    struct drawing *list;
    int count;
};

/* Adds the kept pictures of an endpoint, centred squares at `side` pixels; of several with one caption the first alone.
 * 0 or -1. */
int drawings_load(struct drawings *d, const char *uri, int side);
void drawings_free(struct drawings *d);

struct heldout_score {
    int count, nearest, families, tone; /* compared; nearest is the true one; with a family; nearest tone is right */
    double chance, tone_chance;         /* expected hits of a random choice */
    double error;                       /* sum of root mean squared distances to the true drawing */
};

/* Compares `pictures` with `real`, whose first `truths` are the drawings that they are to show; those that no picture
 * has the caption of do not count. */
struct heldout_score heldout_judge(const struct drawings *pictures, const struct drawings *real, int truths, int side);

#endif
