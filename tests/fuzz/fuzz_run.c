/*
 * libFuzzer: what a training finds in its run's directory. The first byte picks state.json of a checkpoint,
 * metrics.jsonl, of which the curve is drawn, or names of checkpoints, a line each; and what `atelier status` gets as
 * the metrics of a program.
 */
#include "common/checkpoint.h"
#include "pipelines/metrics.h"
#include "trainer/trainer.h"
#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put(const char *name, const uint8_t *data, size_t size)
{
    FILE *f = fopen(name, "wb");
    if (!f)
        abort();
    fwrite(data, 1, size, f);
    fclose(f);
}

/* What was read is written and read again. */
static void read_state(const uint8_t *data, size_t size)
{
    const struct kernels half = {.compute = F16};
    struct grad_scale scales[2] = {{.scale = 1}, {.scale = 1}};
    struct params p = {.k = &half, .scales = scales, .groups = 2};
    struct run_state s = {0}, again = {0};
    put("state.json", data, size);
    if (state_load(&s, &p, ".") < 0)
        return;
    if (state_save(&s, &p, ".") < 0 || state_load(&again, &p, ".") < 0 || s.step != again.step ||
        s.position != again.position || s.elapsed != again.elapsed)
        abort();
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    (void)st;
    (void)flag;
    (void)at;
    return remove(path);
}

/* The newest is found; another is put beside, and then two at most are there. */
static void find_checkpoints(const uint8_t *data, size_t size)
{
    char *text = xasprintf("%.*s", (int)size, (const char *)data), *rest = text, *dir = NULL;
    uint64_t step = 0;
    if (mkdir("run", 0777) < 0 || chdir("run") < 0)
        abort();
    for (char *name; (name = strsep(&rest, "\n"));) {
        for (char *c = name; *c; c++)
            *c = *c == '/' ? '_' : *c;
        mkdir(name, 0777);
    }
    if (chdir("..") < 0)
        abort();
    if (checkpoint_latest("run", &dir, &step) == 1 && access(dir, F_OK) < 0)
        abort();
    free(dir);
    dir = NULL;
    if (checkpoint_begin("run", &dir) == 0 && checkpoint_commit("run", step) < 0)
        abort();
    free(dir);
    nftw("run", remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(text);
}

static void read_metrics(const uint8_t *data, size_t size)
{
    struct buf answer = {0};
    buf_append(&answer, data, size);
    buf_string(&answer);
    metrics_value(&answer, "records_total");
    metrics_value(&answer, "link_open_records{end=\"out\"}");
    buf_free(&answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char dir[] = "/tmp/fuzz-run-XXXXXX";
    static bool made;
    if (size == 0)
        return 0;
    if (!made && (!mkdtemp(dir) || chdir(dir) < 0))
        abort();
    made = true;
    switch (data[0] % 4) {
    case 0:
        read_state(data + 1, size - 1);
        break;
    case 1:
        put("metrics.jsonl", data + 1, size - 1);
        curve_write(".", "dvae");
        break;
    case 2:
        find_checkpoints(data + 1, size - 1);
        break;
    default:
        read_metrics(data + 1, size - 1);
    }
    return 0;
}
