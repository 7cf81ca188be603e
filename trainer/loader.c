/*
 * Reading ahead (loader.h): a ring of parts, which threads fill sample by sample. Records are read by one thread at a
 * time, in the training order; what is made of them, by all at once.
 */
#include "trainer/loader.h"
#include "common/err.h"
#include "common/threads.h"
#include <stdlib.h>

#define MOST_THREADS 16

struct failure {
    int code, row;
    char *text; /* NULL: none */
};

struct slot {
    void *column[LOADER_COLUMNS];
    int claimed, done; /* rows that a thread has taken on; that are prepared, or failed */
    struct failure failure;
    uint64_t position; /* behind the part, when all are done */
};

struct loader {
    struct loader_settings s;
    struct slot *slots; /* [s.buffers]: part n in n modulo their number */
    int threads;
    pthread_t thread[MOST_THREADS];
    pthread_mutex_t reading; /* of s.data, s.position and `part`; taken before `lock` */
    uint64_t part;           /* the next row is of this one */
    pthread_mutex_t lock;    /* of all below, of slots' claimed, done and failure; never held while something is read */
    pthread_cond_t changed;
    uint64_t given, free; /* parts given out; parts whose slot may be filled are before `free` */
    bool stopped;         /* no more rows are claimed: one failed, or the loader is closed */
};

/* A row that a thread has taken on. */
struct claim {
    struct slot *slot;
    int row;
    uint64_t sample;
};

static int read_sample(struct loader *l, struct claim *c, struct record *r)
{
    struct loader_settings *s = &l->s;
    bool first = c->row == 0, last = c->row == s->part.own - 1;
    if ((first && dataset_skip(s->data, s->seed, &s->position, s->part.before)) ||
        dataset_next(s->data, s->seed, &s->position, &c->sample, r) ||
        (last && dataset_skip(s->data, s->seed, &s->position, s->part.behind)))
        return -1;
    if (last) {
        c->slot->position = s->position;
        l->part++;
    }
    return 0;
}

/* Waits for a free row: false when there will be none. */
static bool take_row(struct loader *l, struct claim *c)
{
    pthread_mutex_lock(&l->lock);
    while (!l->stopped && l->part >= l->free)
        pthread_cond_wait(&l->changed, &l->lock);
    bool go = !l->stopped;
    if (go) {
        c->slot = &l->slots[l->part % (uint64_t)l->s.buffers];
        c->row = c->slot->claimed++;
    }
    pthread_mutex_unlock(&l->lock);
    return go;
}

/* Whether nothing more will come into it: all rows, or those before one that failed. */
static bool settled(const struct loader *l, const struct slot *s)
{
    return s->done == s->claimed && (s->claimed == l->s.part.own || l->stopped);
}

static void finish_row(struct loader *l, const struct claim *c, int rc)
{
    pthread_mutex_lock(&l->lock);
    struct failure *failure = &c->slot->failure;
    if (rc) {
        l->stopped = true;
        if (!failure->text || c->row < failure->row) {
            free(failure->text);
            *failure = (struct failure){err_code(), c->row, xstrdup(err_text())};
        }
    }
    c->slot->done++;
    if (l->stopped || settled(l, c->slot))
        pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

static int prepare(const struct loader *l, const struct claim *c, struct loader_worker *with)
{
    void *row[LOADER_COLUMNS];
    for (int i = 0; i < LOADER_COLUMNS; i++)
        row[i] = (char *)c->slot->column[i] + (size_t)c->row * l->s.bytes[i];
    return l->s.prepare(l->s.self, with, c->sample, row);
}

static void *run(void *self)
{
    struct loader *l = self;
    struct loader_worker with = {.bpe = l->s.bpe ? bpe_worker_new(l->s.bpe) : NULL};
    for (;;) {
        struct claim c;
        int rc = 0;
        pthread_mutex_lock(&l->reading);
        bool go = take_row(l, &c);
        if (go)
            rc = read_sample(l, &c, &with.record);
        if (rc)
            finish_row(l, &c, rc);
        pthread_mutex_unlock(&l->reading);
        if (!go || rc)
            break;
        finish_row(l, &c, prepare(l, &c, &with));
    }
    bpe_worker_free(&with.bpe);
    record_free(&with.record);
    free(with.ids.data);
    return NULL;
}

int loader_open(struct loader **out, const struct loader_settings *settings)
{
    struct loader *l = *out = xcalloc(1, sizeof *l);
    int threads = settings->threads < settings->part.own ? settings->threads : settings->part.own;
    l->s = *settings;
    l->free = (uint64_t)settings->buffers;
    l->slots = xcalloc(l->free, sizeof *l->slots);
    for (int n = 0; n < settings->buffers; n++)
        for (int i = 0; i < LOADER_COLUMNS; i++)
            l->slots[n].column[i] = xmalloc((size_t)settings->part.own * settings->bytes[i]);
    pthread_mutex_init(&l->reading, NULL);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, NULL);
    threads = threads < MOST_THREADS ? threads : MOST_THREADS;
    l->threads = threads_start(l->thread, threads, run, l, "read ahead");
    return l->threads < 0 ? -1 : 0;
}

void loader_close(struct loader **loader)
{
    struct loader *l = *loader;
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->stopped = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->threads; i++)
        pthread_join(l->thread[i], NULL);
    for (int n = 0; n < l->s.buffers; n++) {
        for (int i = 0; i < LOADER_COLUMNS; i++)
            free(l->slots[n].column[i]);
        free(l->slots[n].failure.text);
    }
    free(l->slots);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    pthread_mutex_destroy(&l->reading);
    free(l);
    *loader = NULL;
}

static void give_back(struct loader *l, struct slot *s)
{
    s->claimed = s->done = 0;
    l->free++;
    pthread_cond_broadcast(&l->changed);
}

void *const *loader_next(struct loader *l, uint64_t *position)
{
    uint64_t buffers = (uint64_t)l->s.buffers;
    struct slot *s = &l->slots[l->given % buffers];
    pthread_mutex_lock(&l->lock);
    if (l->given > 0)
        give_back(l, &l->slots[(l->given - 1) % buffers]);
    while (!settled(l, s))
        pthread_cond_wait(&l->changed, &l->lock);
    pthread_mutex_unlock(&l->lock);
    l->given++;
    if (s->failure.text) {
        err_set(s->failure.code, "%s", s->failure.text);
        return NULL;
    }
    *position = s->position;
    return s->column;
}
