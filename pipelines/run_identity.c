/*
 * A run's identity (run_plan.h). It is kept in the store, so that a store is never continued with another input,
 * vocabulary or model.
 */
#include "common/crc32c.h"
#include "common/expand.h"
#include "common/mem.h"
#include "common/members.h"
#include "pipelines/run_plan.h"
#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_BYTES ((size_t)64 << 20)   /* of larger files the size alone counts */
#define TOTAL_BYTES ((uint64_t)1 << 30) /* and of all that come after so much */

struct identity {
    uint64_t hash, left; /* bytes that may still be read */
};

/* FNV-1a of a text with its end. */
static void hash_text(struct identity *id, const char *text)
{
    do
        id->hash = (id->hash ^ (unsigned char)*text) * 0x100000001b3ull;
    while (*text++);
}

static void hash_file(struct identity *id, const FTSENT *file)
{
    struct buf content = {0};
    char facts[48];
    uint32_t crc = 0;
    uint64_t size = (uint64_t)file->fts_statp->st_size;
    errno = 0;
    if (size <= FILE_BYTES && size <= id->left && file_read(file->fts_accpath, FILE_BYTES, &content) == 0) {
        crc = crc32c(0, content.data, content.len);
        id->left -= content.len;
    } else if (errno == ENOMEM) {
        mem_gone(size);
    }
    buf_free(&content);
    snprintf(facts, sizeof facts, "%llu %08x", (unsigned long long)size, crc);
    hash_text(id, file->fts_path);
    hash_text(id, facts);
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* What sources and models read of a directory; logs and the like may change. */
static bool is_content(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (member_of(dot + 1) != MEMBER_OTHER || strcmp(dot, ".safetensors") == 0);
}

/* A file, or the files that lie in a directory, with `deep` also in folders below, as dir: reads them; nothing where
 * the word names none. */
static void hash_tree(struct identity *id, char *name, bool deep)
{
    char *const roots[] = {name, NULL};
    errno = 0;
    FTS *tree = fts_open(roots, FTS_COMFOLLOW | FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    for (FTSENT *file; tree && (file = fts_read(tree)) != NULL;) {
        if (file->fts_info == FTS_D && file->fts_level > 0 && (!deep || file->fts_name[0] == '.'))
            fts_set(tree, file, FTS_SKIP);
        else if (file->fts_info == FTS_SL && is_content(file->fts_name))
            fts_set(tree, file, FTS_FOLLOW);
        else if (file->fts_info == FTS_F && (file->fts_level == 0 || is_content(file->fts_name)))
            hash_file(id, file);
    }
    if (errno == ENOMEM) /* or it would be another run */
        mem_gone(0);
    if (tree)
        fts_close(tree);
}

/* What a word names stands behind "--option=" and "scheme:" and before "#columns". */
static void hash_files(struct identity *id, const char *word)
{
    struct names files = {0};
    const char *value = strncmp(word, "--", 2) == 0 && strchr(word, '=') ? strchr(word, '=') + 1 : word;
    bool deep = strncmp(value, "dir:", 4) == 0;
    value = value[strcspn(value, ":/")] == ':' ? strchr(value, ':') + 1 : value;
    char *pattern = xasprintf("%.*s", (int)strcspn(value, "#"), value);
    if (expand_braces(&files, pattern) == 0)
        for (size_t i = 0; i < files.count; i++)
            hash_tree(id, files.name[i], deep);
    names_free(&files);
    free(pattern);
}

/* How many words, from this one on, are an option that changes no record. */
static size_t words_aside(const struct plan_step *step, size_t at)
{
    static const char *const aside[] = {"--threads", "--log",  "--stats", "--rejects",        "--max-rejects",
                                        "--metrics", "--keys", "--batch", "--record-timeout", "--insecure"};
    const char *word = step->argv[at];
    size_t len = strcspn(word, "=");
    for (size_t i = 0; i < sizeof aside / sizeof *aside; i++)
        if (strlen(aside[i]) == len && strncmp(word, aside[i], len) == 0)
            return word[len] == '=' || strcmp(word, "--insecure") == 0 ? 1 : 2;
    return 0;
}

void plan_identify(struct plan *p)
{
    struct identity id = {0xcbf29ce484222325ull, TOTAL_BYTES};
    for (size_t i = 0; i + 1 < p->count; i++) {
        const struct plan_step *step = &p->steps[i];
        for (size_t j = 0; j < step->argc; j++) {
            size_t aside = words_aside(step, j);
            if (aside > 0) {
                j += aside - 1;
                continue;
            }
            hash_text(&id, step->argv[j]);
            hash_files(&id, step->argv[j]);
        }
    }
    snprintf(p->run, sizeof p->run, "%016llx", (unsigned long long)id.hash);
}
