/* libFuzzer: safetensors. */
#include "common/mem.h"
#include "common/weights_file.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
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
    return 0;
}
