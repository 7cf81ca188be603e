/* Records at random: a store in place, or packed records in memory. */
#include "trainer/dataset.h"
#include "common/endpoint.h"
#include "common/err.h"
#include "common/random.h"
#include "common/store.h"
#include <stdlib.h>
#include <string.h>

struct dataset {
    struct store *store; /* or: */
    struct buf packed;
    size_t *offset; /* [count + 1] into packed */
    uint64_t count, cap;
};

static int keep(struct dataset *d, const struct record *r, size_t memory)
{
    if (d->count + 1 >= d->cap) {
        d->cap = d->cap ? d->cap * 2 : 1024;
        d->offset = xrealloc(d->offset, (d->cap + 1) * sizeof *d->offset);
        d->offset[d->count] = d->packed.len;
    }
    record_pack(r, &d->packed);
    d->offset[++d->count] = d->packed.len;
    if (d->packed.len > memory)
        return err_set(ERR_USAGE,
                       "record %llu: more than %zu MiB in memory; raise --memory, or make a store of them "
                       "(atelier store import) and train from lmdb:PATH",
                       (unsigned long long)r->id, memory >> 20);
    return 0;
}

static int load(struct dataset *d, const char *uri, size_t memory)
{
    struct source *source;
    struct source_options options = {0};
    struct record r = {0};
    if (source_open(&source, uri, &options))
        return -1;
    int rc;
    while ((rc = source_next(source, &r)) == 1)
        if (!record_has(&r, FIELD_REJECT) && keep(d, &r, memory)) {
            rc = -1;
            break;
        }
    record_free(&r);
    source_close(&source);
    return rc;
}

int dataset_open(struct dataset **out, const char *uri, size_t memory)
{
    struct dataset *d = xcalloc(1, sizeof *d);
    int rc;
    if (!strncmp(uri, "lmdb:", 5)) {
        rc = store_open_read(&d->store, uri + 5);
        d->count = rc ? 0 : store_cursor(d->store);
    } else {
        rc = load(d, uri, memory);
    }
    if (!rc && d->count == 0)
        rc = err_set(ERR_DATA, "%s: no record to train on", uri);
    if (rc)
        dataset_close(&d);
    *out = d;
    return rc;
}

void dataset_close(struct dataset **d)
{
    if (*d && (*d)->store)
        store_close(&(*d)->store);
    if (*d) {
        buf_free(&(*d)->packed);
        free((*d)->offset);
    }
    free(*d);
    *d = NULL;
}

uint64_t dataset_count(const struct dataset *d)
{
    return d->count;
}

int dataset_get(struct dataset *d, uint64_t i, struct record *r)
{
    if (!d->store)
        return record_unpack(r, d->packed.data + d->offset[i], d->offset[i + 1] - d->offset[i]) ? -1 : 1;
    int rc = store_get(d->store, i, r);
    return rc == 1 && record_has(r, FIELD_REJECT) ? 0 : rc;
}

/* The record at a position of the training order. */
static uint64_t at_position(const struct dataset *d, uint64_t seed, uint64_t position)
{
    uint64_t epoch = position / d->count, key = random_key(seed + epoch, RANDOM_ORDER);
    return random_permute(d->count, key, position % d->count);
}

static int none_kept(const struct dataset *d)
{
    return err_set(ERR_DATA, "no kept record to train on among %llu", (unsigned long long)d->count);
}

int dataset_next(struct dataset *d, uint64_t seed, uint64_t *position, uint64_t *sample, struct record *r)
{
    for (uint64_t tried = 0; tried <= d->count; tried++) {
        *sample = (*position)++;
        int rc = dataset_get(d, at_position(d, seed, *sample), r);
        if (rc)
            return rc < 0 ? -1 : 0;
    }
    return none_kept(d);
}

int dataset_skip(struct dataset *d, uint64_t seed, uint64_t *position, uint64_t n)
{
    if (!d->store) { /* in memory are the kept ones alone */
        *position += n;
        return 0;
    }
    for (uint64_t tombstones = 0; n && tombstones <= d->count; tombstones++) {
        int rc = store_has(d->store, at_position(d, seed, (*position)++));
        if (rc < 0)
            return -1;
        if (rc)
            tombstones = 0;
        n -= (uint64_t)rc;
    }
    return n ? none_kept(d) : 0;
}

int dataset_picture(const struct record *r, struct image *im)
{
    int rc = record_has(r, FIELD_IMAGE) ? image_decode(im, r->image.data, r->image.len, 0, 1)
                                        : err_set(ERR_DATA, "none; encode drops pictures unless told --keep-image");
    return rc ? err_wrap("record %llu (%.*s): picture (filter the set first)", (unsigned long long)r->id,
                         (int)r->key.len, (const char *)r->key.data)
              : 0;
}
