/*
 * libFuzzer: the file as a shard of tar:, plain or compressed. It must come to an end, its ids dense and its fields
 * within their limits.
 */
#include "common/endpoint.h"
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct source *source;
    struct record r = {0};
    const struct source_options options = {0};
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    char *uri = xasprintf("tar:/proc/self/fd/%d", fd);
    if (source_open(&source, uri, &options) == 0) {
        uint64_t count = 0;
        while (source_next(source, &r) > 0)
            if (r.id != count++ || !record_has(&r, FIELD_KEY) || r.key.len > record_fields[FIELD_KEY].limit ||
                r.caption.len > record_fields[FIELD_CAPTION].limit || r.image.len > record_fields[FIELD_IMAGE].limit)
                abort();
        source_close(&source);
    }
    record_free(&r);
    free(uri);
    close(fd);
    return 0;
}
