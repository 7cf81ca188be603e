/* libFuzzer: the files of a directory of keys, apart at bytes of 255: this host's, those admitted, the server's. */
#include "common/link.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"key", "allowed", "server"};
    static char dir[] = "/tmp/fuzz-keys-XXXXXX";
    static bool made;
    if (!made && (!mkdtemp(dir) || chdir(dir) < 0))
        abort();
    made = true;
    umask(077);
    for (size_t i = 0; i < 3; i++) {
        const uint8_t *end = i < 2 && size > 0 ? memchr(data, 255, size) : NULL;
        size_t len = end ? (size_t)(end - data) : size;
        FILE *f = fopen(names[i], "wb");
        fwrite(data, 1, len, f);
        fclose(f);
        data += len + (end != NULL);
        size -= len + (end != NULL);
    }
    const char *const uris[] = {"bind+ipc://link", "ipc://link"};
    for (size_t i = 0; i < 2; i++) {
        struct link *l;
        if (link_open(&l, uris[i], &(struct link_options){.role = LINK_FEEDER, .keys = "."}) == 0)
            link_close(&l);
    }
    return 0;
}
