/* Held-out drawings: loading, distances, and which real drawing is nearest. */
#include "pipelines/heldout.h"
#include "common/endpoint.h"
#include "common/image.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TONE_ENDING " skin tone"

static char *family_of(const char *caption)
{
    size_t n = strlen(caption), ending = strlen(TONE_ENDING);
    const char *comma = strrchr(caption, ',');
    if (!comma || n < ending || strcmp(caption + n - ending, TONE_ENDING) != 0)
        return NULL;
    return xasprintf("%.*s", (int)(comma - caption), caption);
}

static int find(const struct drawings *d, const char *caption)
{
    for (int i = 0; i < d->count; i++)
        if (!strcmp(d->list[i].caption, caption))
            return i;
    return -1;
}

int drawings_load(struct drawings *d, const char *uri, int side)
{
    struct source *source;
    struct source_options options = {0};
    struct record r = {0};
    if (source_open(&source, uri, &options))
        return -1;
    int rc;
    while ((rc = source_next(source, &r)) == 1) {
        struct image im, small;
        char *caption = xasprintf("%.*s", (int)r.caption.len, (const char *)r.caption.data);
        if (record_has(&r, FIELD_REJECT) || find(d, caption) >= 0 ||
            image_decode(&im, r.image.data, r.image.len, 0, 1)) {
            free(caption);
            continue;
        }
        image_center_square(&im, side, &small);
        image_free(&im);
        d->list = xrealloc(d->list, (size_t)(d->count + 1) * sizeof *d->list);
        d->list[d->count++] = (struct drawing){caption, family_of(caption), small.rgb};
    }
    record_free(&r);
    source_close(&source);
    return rc;
}

static double distance(const struct drawing *a, const struct drawing *b, int side)
{
    double sum = 0;
    for (int i = 0; i < side * side * 3; i++) {
        double d = (double)a->rgb[i] - b->rgb[i];
        sum += d * d;
    }
    return sum / (side * side * 3);
}

/* True when no drawing of the set (of the family alone, if given) is nearer to `d` than real drawing `t`. */
static bool is_nearest(const struct drawing *d, const struct drawings *real, int t, const char *family, int side,
                       int *among)
{
    double own = distance(d, &real->list[t], side);
    bool nearest = true;
    *among = 0;
    for (int i = 0; i < real->count; i++) {
        const struct drawing *other = &real->list[i];
        if (family && (!other->family || strcmp(other->family, family) != 0))
            continue;
        ++*among;
        nearest &= distance(d, other, side) >= own;
    }
    return nearest;
}

struct heldout_score heldout_judge(const struct drawings *pictures, const struct drawings *real, int truths, int side)
{
    struct heldout_score s = {0};
    for (int t = 0; t < truths; t++) {
        const struct drawing *truth = &real->list[t];
        int at = find(pictures, truth->caption), among;
        if (at < 0)
            continue;
        const struct drawing *d = &pictures->list[at];
        s.count++;
        s.error += sqrt(distance(d, truth, side));
        s.nearest += is_nearest(d, real, t, NULL, side, &among);
        s.chance += 1.0 / among;
        if (truth->family) {
            s.families++;
            s.tone += is_nearest(d, real, t, truth->family, side, &among);
            s.tone_chance += 1.0 / among;
        }
    }
    return s;
}

void drawings_free(struct drawings *d)
{
    for (int i = 0; i < d->count; i++) {
        free(d->list[i].caption);
        free(d->list[i].family);
        free(d->list[i].rgb);
    }
    free(d->list);
    *d = (struct drawings){0};
}
