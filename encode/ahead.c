/*
 * Decoding ahead (ahead.h): a ring of records and threads that go round it.
 */
#include "encode/ahead.h"
#include "common/err.h"
#include "common/random.h"
#include "models/augment.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* One is encoded, each thread decodes one, two wait: a long JPEG among short ones then keeps nobody waiting. */
enum { MOST_THREADS = 16, SPARE = 3 };

struct slot {
    struct prepared prepared;
    bool ready;
};

struct ahead {
    struct crops crops;
    struct slot *slots;
    uint64_t count, put, claimed, taken; /* slots; records so far, whose slot is the number modulo `count` */
    bool closing;
    int threads;
    pthread_t thread[MOST_THREADS];
    pthread_mutex_t
        lock; /* of put, claimed, closing and each `ready`; a slot is its thread's own from claim to ready */
    pthread_cond_t changed;
};

static void random_crops(const struct crops *c, const struct image *im, uint64_t id, struct prepared *p)
{
    uint64_t key = random_key((uint64_t)c->seed, RANDOM_VIEW);
    size_t bytes = (size_t)c->side * (size_t)c->side * 3;
    p->squares = xmalloc((size_t)c->views * bytes);
    for (int v = 0; v < c->views; v++) {
        struct image square;
        augment(im, AUGMENT_PRIOR, c->side, key, id * (uint64_t)c->views + (uint64_t)v, &square);
        memcpy(p->squares + (size_t)v * bytes, square.rgb, bytes);
        image_free(&square);
    }
}

static int decode(const struct crops *c, struct prepared *p)
{
    const struct buf *data = &p->record.image;
    struct image im;
    p->profile = image_has_profile(data->data, data->len);
    if (c->views == 1) {
        if (image_decode_square(&im, data->data, data->len, c->side, &p->width, &p->height))
            return -1;
        p->squares = im.rgb;
        return 0;
    }
    if (image_size(data->data, data->len, &p->width, &p->height) ||
        image_decode(&im, data->data, data->len, 0, image_reduction(p->width, p->height, c->side)))
        return -1;
    random_crops(c, &im, p->record.id, p);
    image_free(&im);
    return 0;
}

static void prepare(const struct crops *c, struct prepared *p)
{
    if (!record_has(&p->record, FIELD_IMAGE))
        record_reject(&p->record, "image: none");
    else if (decode(c, p))
        record_reject(&p->record, "image: %s", err_text());
}

static void *run(void *self)
{
    struct ahead *a = self;
    pthread_mutex_lock(&a->lock);
    while (!a->closing) {
        if (a->claimed == a->put) {
            pthread_cond_wait(&a->changed, &a->lock);
            continue;
        }
        struct slot *s = &a->slots[a->claimed++ % a->count];
        pthread_mutex_unlock(&a->lock);
        prepare(&a->crops, &s->prepared);
        pthread_mutex_lock(&a->lock);
        s->ready = true;
        pthread_cond_broadcast(&a->changed);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

struct ahead *ahead_new(const struct crops *crops, int threads)
{
    struct ahead *a = xcalloc(1, sizeof *a);
    threads = threads < MOST_THREADS ? threads : MOST_THREADS;
    a->crops = *crops;
    a->count = (uint64_t)threads + SPARE;
    a->slots = xcalloc(a->count, sizeof *a->slots);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    /* Signals are for the main thread, whose waits they end. */
    sigset_t all, before;
    int failed = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (a->threads < threads && (failed = pthread_create(&a->thread[a->threads], NULL, run, a)) == 0)
        a->threads++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (a->threads == 0) {
        err_set(ERR_AGAIN, "no thread to decode pictures: %s", strerror(failed));
        ahead_free(&a);
    }
    return a;
}

static void empty(struct prepared *p)
{
    free(p->squares);
    p->squares = NULL;
}

void ahead_free(struct ahead **ahead)
{
    struct ahead *a = *ahead;
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->closing = true;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
    for (int i = 0; i < a->threads; i++)
        pthread_join(a->thread[i], NULL);
    for (uint64_t i = 0; i < a->count; i++) {
        empty(&a->slots[i].prepared);
        record_free(&a->slots[i].prepared.record);
    }
    free(a->slots);
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    free(a);
    *ahead = NULL;
}

bool ahead_full(const struct ahead *a)
{
    return a->put - a->taken == a->count;
}

void ahead_put(struct ahead *a, struct record *r)
{
    struct slot *s = &a->slots[a->put % a->count];
    struct prepared *p = &s->prepared;
    struct record mine = p->record;
    empty(p);
    record_clear(&mine);
    p->record = *r;
    *r = mine;
    pthread_mutex_lock(&a->lock);
    s->ready = false;
    a->put++;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

struct prepared *ahead_next(struct ahead *a)
{
    if (a->taken == a->put)
        return NULL;
    struct slot *s = &a->slots[a->taken++ % a->count];
    pthread_mutex_lock(&a->lock);
    while (!s->ready)
        pthread_cond_wait(&a->changed, &a->lock);
    pthread_mutex_unlock(&a->lock);
    return &s->prepared;
}
