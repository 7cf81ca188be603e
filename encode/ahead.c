/*
 * Decoding ahead (ahead.h): a ring of records and one thread that goes round it.
 */
#include "encode/ahead.h"
#include "common/err.h"
#include "common/random.h"
#include "models/augment.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* One is encoded, one decoded, two wait: a long JPEG among short ones then keeps nobody waiting. */
enum { SLOTS = 4 };

struct ahead {
    struct crops crops;
    struct prepared slot[SLOTS];
    uint64_t put, decoded, taken; /* records so far; the slot is the number modulo SLOTS */
    bool closing;
    pthread_t thread;
    pthread_mutex_t lock; /* of put, decoded and closing; a slot is the thread's own while decoded <= it < put */
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
        if (a->decoded == a->put) {
            pthread_cond_wait(&a->changed, &a->lock);
            continue;
        }
        struct prepared *p = &a->slot[a->decoded % SLOTS];
        pthread_mutex_unlock(&a->lock);
        prepare(&a->crops, p);
        pthread_mutex_lock(&a->lock);
        a->decoded++;
        pthread_cond_broadcast(&a->changed);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

struct ahead *ahead_new(const struct crops *crops)
{
    struct ahead *a = xcalloc(1, sizeof *a);
    a->crops = *crops;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    /* Signals are for the main thread, whose waits they end. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&a->thread, NULL, run, a);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        err_set(ERR_AGAIN, "no thread to decode pictures: %s", strerror(failed));
        free(a);
        return NULL;
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
    pthread_join(a->thread, NULL);
    for (int i = 0; i < SLOTS; i++) {
        empty(&a->slot[i]);
        record_free(&a->slot[i].record);
    }
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    free(a);
    *ahead = NULL;
}

bool ahead_full(const struct ahead *a)
{
    return a->put - a->taken == SLOTS;
}

void ahead_put(struct ahead *a, struct record *r)
{
    struct prepared *p = &a->slot[a->put % SLOTS];
    struct record mine = p->record;
    empty(p);
    record_clear(&mine);
    p->record = *r;
    *r = mine;
    pthread_mutex_lock(&a->lock);
    a->put++;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

struct prepared *ahead_next(struct ahead *a)
{
    if (a->taken == a->put)
        return NULL;
    pthread_mutex_lock(&a->lock);
    while (a->decoded == a->taken)
        pthread_cond_wait(&a->changed, &a->lock);
    pthread_mutex_unlock(&a->lock);
    return &a->slot[a->taken++ % SLOTS];
}
