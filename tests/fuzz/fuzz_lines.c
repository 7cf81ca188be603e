/*
 * libFuzzer: the sources that read lines. The first byte picks text, jsonl or tsv, and with it which columns; the rest
 * is the file. All that opens must come to an end, its ids dense and its fields within their limits.
 */
#include "tests/fuzz/fuzz.h"
#include <sys/mman.h>
#include <unistd.h>

static const char *const kinds[][2] = {{"text", ""},
                                       {"jsonl", ""},
                                       {"tsv", "#caption=1"},
                                       {"tsv", "#caption=3,1&key=2"},
                                       {"tsv", "#caption=a,b&key=c"},
                                       {"tsv", "#key=a&caption=2"}};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const char *const *kind = kinds[data[0] % (sizeof kinds / sizeof *kinds)];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data + 1, size - 1) != (ssize_t)(size - 1))
        abort();
    char *uri = xasprintf("%s:/proc/self/fd/%d%s", kind[0], fd, kind[1]);
    fuzz_read_source(uri, size, false);
    free(uri);
    close(fd);
    return 0;
}
