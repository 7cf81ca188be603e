/* Batches of pictures out of a dataset. */
#include "trainer/pictures.h"
#include "common/err.h"
#include <string.h>

/* Errors are kept per thread, so a failed decoding is repeated by the caller's thread to report it. */
static int decode_all(struct picture *p, int n)
{
    int bad = -1;
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < n; i++) {
        image_free(&p[i].image);
        if (image_decode(&p[i].image, p[i].record.image.data, p[i].record.image.len, 0, 1))
#pragma omp critical
            bad = i;
    }
    if (bad < 0)
        return 0;
    const struct record *r = &p[bad].record;
    if (record_has(r, FIELD_IMAGE))
        image_decode(&p[bad].image, r->image.data, r->image.len, 0, 1);
    else
        err_set(ERR_DATA, "none; encode drops pictures unless told --keep-image");
    return err_wrap("record %llu (%.*s): picture (filter the set first)", (unsigned long long)r->id, (int)r->key.len,
                    (const char *)r->key.data);
}

int pictures_next(struct dataset *d, uint64_t seed, uint64_t *position, struct picture *p, int n)
{
    for (int i = 0; i < n; i++)
        if (dataset_next(d, seed, position, &p[i].sample, &p[i].record))
            return -1;
    return decode_all(p, n);
}

int pictures_first(struct dataset *d, struct picture *p, int n)
{
    int got = 0;
    for (uint64_t i = 0; i < dataset_count(d) && got < n; i++) {
        int rc = dataset_get(d, i, &p[got].record);
        if (rc < 0)
            return -1;
        got += rc;
    }
    return decode_all(p, got) ? -1 : got;
}

void pictures_free(struct picture *p, int n)
{
    for (int i = 0; i < n; i++) {
        record_free(&p[i].record);
        image_free(&p[i].image);
    }
}

void pictures_bytes(const struct picture *p, int n, enum augment kind, int size, uint64_t key, uint8_t *out)
{
    size_t bytes = (size_t)size * size * 3;
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < n; i++) {
        struct image im;
        augment(&p[i].image, kind, size, key, p[i].sample, &im);
        memcpy(out + (size_t)i * bytes, im.rgb, bytes);
        image_free(&im);
    }
}
