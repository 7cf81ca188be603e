/*
 * libFuzzer: a folder as dir: reads it. Between bytes of 255 stand a path and what is there, in turn: a file's content,
 * or behind a byte of 254 what a symbolic link leads to, which stays in the folder. It must come to an end, its ids
 * dense, its keys in order and its fields within their limits.
 */
#include "common/endpoint.h"
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_FILES 32

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    (void)st;
    (void)flag;
    return at->level > 0 ? remove(path) : 0;
}

static char *take(const uint8_t **data, size_t *size)
{
    const uint8_t *end = *size > 0 ? memchr(*data, 255, *size) : NULL;
    size_t len = end ? (size_t)(end - *data) : *size;
    char *text = xasprintf("%.*s", (int)len, (const char *)*data);
    *data += len + (end != NULL);
    *size -= len + (end != NULL);
    return text;
}

static void put(const char *name, const uint8_t *content, size_t len)
{
    char *path = xasprintf("tree/%s", name), *slash;
    for (char *c = strstr(path, ".."); c; c = strstr(path, ".."))
        *c = '_';
    for (slash = strchr(path + 5, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0777);
        *slash = '/';
    }
    if (len > 0 && content[0] == 254) {
        char *target = xasprintf("%.*s", (int)len - 1, (const char *)content + 1);
        for (char *c = target; *c; c++)
            *c = *c == '/' ? '_' : *c;
        if (symlink(target, path) < 0)
            remove(path);
        free(target);
    } else {
        FILE *f = fopen(path, "wbx");
        if (f) {
            fwrite(content, 1, len, f);
            fclose(f);
        }
    }
    free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char dir[] = "/tmp/fuzz-dir-XXXXXX";
    static bool made;
    const struct source_options options = {0};
    struct source *source;
    struct record r = {0};
    struct buf before = {0};
    if (!made && (!mkdtemp(dir) || chdir(dir) < 0))
        abort();
    made = true;
    mkdir("tree", 0777);
    for (int i = 0; i < MAX_FILES && size > 0; i++) {
        char *name = take(&data, &size);
        const uint8_t *end = size > 0 ? memchr(data, 255, size) : NULL;
        size_t len = end ? (size_t)(end - data) : size;
        put(name, data, len);
        data += len + (end != NULL);
        size -= len + (end != NULL);
        free(name);
    }
    if (source_open(&source, "dir:tree", &options) == 0) {
        for (uint64_t count = 0; source_next(source, &r) > 0; count++) {
            if (r.id != count || !record_has(&r, FIELD_KEY) || r.key.len > record_fields[FIELD_KEY].limit ||
                r.caption.len > record_fields[FIELD_CAPTION].limit || r.image.len > record_fields[FIELD_IMAGE].limit)
                abort();
            if (count > 0 && strcmp(buf_string(&before), buf_string(&r.key)) > 0)
                abort();
            before.len = 0;
            buf_append(&before, r.key.data, r.key.len);
        }
        source_close(&source);
    }
    record_free(&r);
    buf_free(&before);
    nftw("tree", remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}
