/*
 * libFuzzer: the file as a shard of tar:, plain or compressed. It must come to an end, its ids dense and its fields
 * within their limits.
 */
#include "tests/fuzz/fuzz.h"
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    char *uri = xasprintf("tar:/proc/self/fd/%d", fd);
    fuzz_read_source(uri, UINT64_MAX, false);
    free(uri);
    close(fd);
    return 0;
}
