/*
 * libFuzzer: a folder as dir: reads it. Between bytes of 255 stand a path and what is there, in turn: a file's content,
 * or behind a byte of 254 what a symbolic link leads to, which stays in the folder. It must come to an end, its ids
 * dense, its keys in order and its fields within their limits.
 */
#include "tests/fuzz/fuzz.h"
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILES 32

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    (void)st;
    (void)flag;
    return at->level > 0 ? remove(path) : 0;
}

struct part {
    const uint8_t *data;
    size_t len;
};

/* What stands before the next byte of 255, which goes too. */
static struct part take(struct part *rest)
{
    const uint8_t *end = rest->len > 0 ? memchr(rest->data, 255, rest->len) : NULL;
    struct part first = {rest->data, end ? (size_t)(end - rest->data) : rest->len};
    rest->data += first.len + (end != NULL);
    rest->len -= first.len + (end != NULL);
    return first;
}

static void put(struct part name, struct part content)
{
    char *path = xasprintf("tree/%.*s", (int)name.len, (const char *)name.data), *slash;
    for (char *c = strstr(path, ".."); c; c = strstr(path, ".."))
        *c = '_';
    for (slash = strchr(path + 5, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0777);
        *slash = '/';
    }
    if (content.len > 0 && content.data[0] == 254) {
        char *target = xasprintf("%.*s", (int)content.len - 1, (const char *)content.data + 1);
        for (char *c = target; *c; c++)
            *c = *c == '/' ? '_' : *c;
        if (symlink(target, path) < 0)
            remove(path);
        free(target);
    } else {
        FILE *f = fopen(path, "wbx");
        if (f) {
            fwrite(content.data, 1, content.len, f);
            fclose(f);
        }
    }
    free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char dir[] = "/tmp/fuzz-dir-XXXXXX";
    static bool made;
    if (!made && (!mkdtemp(dir) || chdir(dir) < 0))
        abort();
    made = true;
    mkdir("tree", 0777);
    struct part rest = {data, size};
    for (int i = 0; i < MAX_FILES && rest.len > 0; i++) {
        struct part name = take(&rest);
        put(name, take(&rest));
    }
    fuzz_read_source("dir:tree", MAX_FILES, true);
    nftw("tree", remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}
