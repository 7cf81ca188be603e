/*
 * golden FILE... - checks golden vectors: prints, for each tensor, the largest error beside its tolerance. Exits with 1
 * when a tensor is off or a file cannot be used. ATELIER_DEVICE (cpu; as --device
 * elsewhere) and ATELIER_CPU=plain|avx2|avx512 pick the kernels.
 */
#include "common/err.h"
#include "common/log.h"
#include "tests/golden/golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check(struct golden *g)
{
    static const struct {
        const char *kind;
        int (*check)(struct golden *g);
    } kinds[] = {
        {"dvae", golden_dvae}, {"prior", golden_prior},           {"prior_greedy", golden_prior_greedy},
        {"clip", golden_clip}, {"clip_train", golden_clip_train}, {"clip_preprocess", golden_clip_preprocess},
    };
    const char *kind = weights_meta(g->w, "kind");
    if (!kind)
        return golden_container(g);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kind, kinds[i].kind) == 0)
            return kinds[i].check(g);
    }
    return err_set(ERR_DATA, "files of kind \"%.40s\" are not known here", kind);
}

/* 0 when all of the file is as it should be. */
static int check_file(const char *path, const struct kernels *k)
{
    struct golden g = {.path = path, .k = k};
    struct weights *w = NULL;
    const char *dot = strrchr(path, '.');
    printf("%s (%s)\n", path, k->name);
    int status;
    if (dot && strcmp(dot, ".jsonl") == 0) {
        status = golden_bpe(&g);
    } else {
        status = weights_load(&w, path);
        g.w = w;
        if (status == 0)
            status = check(&g);
        weights_free(&w);
    }
    if (status != 0)
        printf("  FAIL  cannot be checked: %s\n", err_text());
    else
        printf("  %d compared, %d failed\n", g.compared, g.failed);
    return status != 0 || g.failed > 0 || g.compared == 0;
}

int main(int argc, char **argv)
{
    log_open("golden", false);
    if (argc < 2) {
        log_error("usage: golden FILE...");
        return ERR_USAGE;
    }
    const char *device = getenv("ATELIER_DEVICE");
    const struct kernels *k = kernels_open(device ? device : "cpu", F32);
    if (!k) {
        log_error("%s", err_text());
        return ERR_USAGE;
    }
    int failed = 0;
    for (int i = 1; i < argc; i++)
        failed += check_file(argv[i], k);
    printf("%d of %d files passed\n", argc - 1 - failed, argc - 1);
    return failed > 0;
}
