/*
 * libFuzzer target: bytes from outside as a record stream on stdin. Reading must end, without harm, at the end mark or
 * in an error.
 */
#include "common/endpoint.h"
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct source_options from_start = {0};
    struct source *source;
    struct record r = {0};
    int file = memfd_create("fuzz", 0);
    if (file < 0 || write(file, data, size) != (ssize_t)size || lseek(file, 0, SEEK_SET) != 0)
        abort();
    dup2(file, STDIN_FILENO);
    close(file);
    if (source_open(&source, "-", &from_start) < 0)
        abort();
    while (source_next(source, &r) > 0)
        continue;
    source_close(&source);
    record_free(&r);
    return 0;
}
