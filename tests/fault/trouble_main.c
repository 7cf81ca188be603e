/*
 * A stage for tests: passes records on, slowly, and dies, hangs or fails where a caption asks for it. Its result
 * depends on the record alone.
 */
#include "common/err.h"
#include "common/stage.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct trouble {
    int64_t microseconds;
    bool calm;
};

static const struct argp_option options[] = {
    {"microseconds", 256, "N", 0, "Time that a record takes", 0},
    {"calm", 257, NULL, 0, "Make no trouble", 0},
    {0},
};

static int option(void *self, int key, const char *arg)
{
    struct trouble *t = self;
    if (key == 257) {
        t->calm = true;
        return 0;
    }
    return option_int("microseconds", arg, 0, 1 << 30, &t->microseconds);
}

static int process(void *self, struct record *r, struct stage_output *out)
{
    const struct trouble *t = self;
    const char *caption = buf_string(&r->caption);
    if (t->microseconds > 0)
        usleep((useconds_t)t->microseconds);
    if (t->calm)
        return stage_emit(out, r);
    if (strncmp(caption, "crash", 5) == 0)
        abort();
    if (strncmp(caption, "hang", 4) == 0)
        for (;;)
            pause();
    if (strncmp(caption, "fail", 4) == 0)
        return err_set(ERR_IO, "the device failed");
    if (strncmp(caption, "never", 5) == 0)
        return err_set(ERR_DATA, "nobody can do this");
    if (strncmp(caption, "reject", 6) == 0)
        record_reject(r, "trouble: asked for");
    return stage_emit(out, r);
}

int main(int argc, char **argv)
{
    static const struct stage stage = {
        .name = "trouble", .doc = "Makes trouble.", .options = options, .option = option, .process = process};
    struct trouble t = {0};
    return stage_main(&stage, &t, argc, argv);
}
