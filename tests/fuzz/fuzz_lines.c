/*
 * libFuzzer: the sources that read lines. The first byte picks text, jsonl or tsv, and with it which columns; the rest
 * is the file. All that opens must come to an end, its ids dense and its fields within their limits.
 */
#include "common/endpoint.h"
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const kinds[][2] = {{"text", ""},
                                       {"jsonl", ""},
                                       {"tsv", "#caption=1"},
                                       {"tsv", "#caption=3,1&key=2"},
                                       {"tsv", "#caption=a,b&key=c"},
                                       {"tsv", "#key=a&caption=2"}};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct source *source;
    struct record r = {0};
    const struct source_options options = {0};
    if (size == 0)
        return 0;
    const char *const *kind = kinds[data[0] % (sizeof kinds / sizeof *kinds)];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data + 1, size - 1) != (ssize_t)(size - 1))
        abort();
    char *uri = xasprintf("%s:/proc/self/fd/%d%s", kind[0], fd, kind[1]);
    if (source_open(&source, uri, &options) == 0) {
        uint64_t count = 0;
        while (source_next(source, &r) > 0)
            if (r.id != count++ || !record_has(&r, FIELD_KEY) || r.key.len > record_fields[FIELD_KEY].limit ||
                r.caption.len > record_fields[FIELD_CAPTION].limit)
                abort();
        if (count > size)
            abort();
        source_close(&source);
    }
    record_free(&r);
    free(uri);
    close(fd);
    return 0;
}
