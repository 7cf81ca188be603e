/*
 * libFuzzer: a model's file, opened as what the first byte says: a dVAE, a prior, a CLIP. Its shapes and metadata are
 * from outside, and what they claim must not cost more memory than the file.
 */
#include "common/mem.h"
#include "models/clip.h"
#include "models/dvae.h"
#include "models/prior.h"
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char name[] = "/tmp/fuzz-model-XXXXXX";
    static int fd = -1;
    const struct kernels *k = kernels_plain();
    if (size == 0)
        return 0;
    if (fd < 0)
        fd = mkstemp(name);
    if (fd < 0 || ftruncate(fd, 0) < 0 || pwrite(fd, data + 1, size - 1, 0) != (ssize_t)(size - 1))
        abort();
    struct dvae *dvae;
    struct prior *prior;
    struct clip *clip;
    switch (data[0] % 3) {
    case 0:
        if (dvae_open(&dvae, k, name, NULL, 0, 1) == 0)
            dvae_free(&dvae);
        break;
    case 1:
        if (prior_open(&prior, k, name, 1) == 0)
            prior_free(&prior);
        break;
    default:
        if (clip_open(&clip, k, name, 1) == 0)
            clip_free(&clip);
    }
    return 0;
}
