/*
 * What several fuzz targets demand of what they read.
 */
#ifndef ATELIER_TESTS_FUZZ_FUZZ_H
#define ATELIER_TESTS_FUZZ_FUZZ_H

#include "common/endpoint.h"
#include "common/weights_file.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A source comes to its end after `most` records at the most, their ids dense and their fields within their limits;
 * with `sorted`, their keys in order. */
static inline void fuzz_read_source(const char *uri, uint64_t most, bool sorted)
{
    const struct source_options options = {0};
    struct source *source;
    struct record r = {0};
    struct buf before = {0};
    uint64_t count = 0;
    if (source_open(&source, uri, &options) < 0)
        return;
    while (source_next(source, &r) > 0) {
        if (r.id != count++ || count > most || !record_has(&r, FIELD_KEY) ||
            r.key.len > record_fields[FIELD_KEY].limit || r.caption.len > record_fields[FIELD_CAPTION].limit ||
            r.image.len > record_fields[FIELD_IMAGE].limit)
            abort();
        if (sorted && strcmp(buf_string(&before), buf_string(&r.key)) > 0)
            abort();
        before.len = 0;
        buf_append(&before, r.key.data, r.key.len);
    }
    source_close(&source);
    record_free(&r);
    buf_free(&before);
}

/* Of a file that is accepted all tensors can be read. */
static inline void fuzz_read_weights(const void *data, size_t size)
{
    struct weights *w;
    if (weights_parse(&w, data, size) == 0) {
        for (size_t i = 0; i < weights_count(w); i++) {
            const struct weight *t = weights_at(w, i);
            float *floats = xmalloc(t->count * sizeof *floats);
            weight_to_floats(t, floats);
            free(floats);
        }
    }
    weights_free(&w);
}

#endif
