/*
 * libFuzzer: the strings of --in and --out, in a directory of their own: opened, read or written, and closed. '/' would
 * lead out of it. Strings that begin with '+' are addresses of a link on this host.
 */
#include "common/endpoint.h"
#include "common/link.h"
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/tmp/fuzz-endpoint-XXXXXX";

static void make_dir(void)
{
    int none = open("/dev/null", O_RDWR);
    if (!mkdtemp(dir) || chdir(dir) < 0 || none < 0 || dup2(none, 0) < 0 || dup2(none, 1) < 0)
        abort();
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    (void)st;
    (void)flag;
    return at->level > 0 ? remove(path) : 0;
}

static void use_source(const char *uri)
{
    const struct source_options options = {0};
    struct source *source;
    struct record r = {0};
    if (source_open(&source, uri, &options) == 0) {
        for (int i = 0; i < 100 && !source_has_batches(source) && source_next(source, &r) > 0; i++)
            continue;
        source_close(&source);
    }
    record_free(&r);
}

static void use_sink(const char *uri)
{
    const struct sink_options options = {0};
    struct sink *sink;
    struct record r = {0};
    record_set_u64(&r, FIELD_ID, 0);
    record_set_string(&r, FIELD_CAPTION, "a", 1);
    if (sink_open(&sink, uri, &options) == 0) {
        if (sink_put(sink, &r) == 0)
            sink_finish(sink);
        sink_close(&sink);
    }
    record_free(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool made;
    if (!made)
        make_dir();
    made = true;
    bool link = size > 0 && data[0] == '+';
    char *text = xasprintf("%.*s", (int)(size - link), (const char *)data + link);
    for (char *c = text; *c; c++)
        *c = *c == '/' ? '_' : *c;
    if (link) {
        static const char *const starts[] = {"bind+ipc://",
                                             "bind+tcp://127.0.0.1:", "tcp://127.0.0.1:", "bind+tcp://[::1]:"};
        for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
            struct link *l;
            char *uri = xasprintf("%s%s", starts[i], text);
            if (link_open(&l, uri, &(struct link_options){.role = LINK_WORKER}) == 0)
                link_close(&l);
            free(uri);
        }
    } else {
        if (!strstr(text, "..")) /* which makes as many shards as it says */
            use_sink(text);
        use_source(text);
    }
    free(text);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}
