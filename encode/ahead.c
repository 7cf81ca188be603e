/*
 * Decoding ahead (ahead.h): a ring of records and threads that go round it.
 */
#include "encode/ahead.h"
#include "common/err.h"
#include "common/random.h"
#include "common/threads.h"
#include "models/augment.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Beside two batches each thread decodes one, and some wait: a long JPEG among short ones then keeps nobody waiting. */
enum { MOST_THREADS = 64, SPARE = 3, MOST_SQUARES_BYTES = 1 << 30 /* waiting */ };

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
    /* Of put, claimed, taken, closing and each `ready`; a slot is its thread's own from claim to ready. */
    pthread_mutex_t lock;
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
        if (a->claimed < a->taken)
            a->claimed = a->taken; /* what nobody had to decode may have gone by, and its slots are others' now */
        if (a->claimed == a->put) {
            pthread_cond_wait(&a->changed, &a->lock);
            continue;
        }
        struct slot *s = &a->slots[a->claimed++ % a->count];
        if (s->ready)
            continue;
        pthread_mutex_unlock(&a->lock);
        prepare(&a->crops, &s->prepared);
        pthread_mutex_lock(&a->lock);
        s->ready = true;
        pthread_cond_broadcast(&a->changed);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* Records that wait at most: so many squares, but one a thread and two more at least. */
static uint64_t room(const struct crops *c, int threads, int together)
{
    uint64_t views = (uint64_t)c->views, bytes = views * (uint64_t)c->side * (uint64_t)c->side * 3;
    uint64_t wanted = (uint64_t)threads + SPARE + (2 * (uint64_t)together + views - 1) / views;
    uint64_t most = MOST_SQUARES_BYTES / bytes;
    return wanted < most ? wanted : most > SPARE ? most : SPARE;
}

struct ahead *ahead_new(const struct crops *crops, int threads, int together)
{
    struct ahead *a = xcalloc(1, sizeof *a);
    threads = threads < MOST_THREADS ? threads : MOST_THREADS;
    a->crops = *crops;
    a->count = room(crops, threads, together);
    a->slots = xcalloc(a->count, sizeof *a->slots);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    a->threads = threads_start(a->thread, threads, run, a, "decode pictures");
    if (a->threads < 0) {
        a->threads = 0;
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

/* The next slot, emptied. */
static struct slot *next_slot(struct ahead *a, enum prepared_kind kind)
{
    struct slot *s = &a->slots[a->put % a->count];
    empty(&s->prepared);
    record_clear(&s->prepared.record);
    s->prepared.kind = kind;
    return s;
}

static void publish(struct ahead *a, struct slot *s, bool ready)
{
    pthread_mutex_lock(&a->lock);
    s->ready = ready;
    a->put++;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

static void put_record(struct ahead *a, enum prepared_kind kind, struct record *r)
{
    struct slot *s = next_slot(a, kind);
    struct record mine = s->prepared.record;
    s->prepared.record = *r;
    *r = mine;
    publish(a, s, kind != PREPARED_PICTURE);
}

void ahead_put(struct ahead *a, struct record *r)
{
    put_record(a, PREPARED_PICTURE, r);
}

void ahead_put_passed(struct ahead *a, struct record *r)
{
    put_record(a, PREPARED_PASSED, r);
}

void ahead_put_mark(struct ahead *a, uint64_t ticket)
{
    struct slot *s = next_slot(a, PREPARED_MARK);
    s->prepared.ticket = ticket;
    publish(a, s, true);
}

struct prepared *ahead_at(struct ahead *a, uint64_t i)
{
    if (i >= a->put - a->taken)
        return NULL;
    struct slot *s = &a->slots[(a->taken + i) % a->count];
    pthread_mutex_lock(&a->lock);
    while (!s->ready)
        pthread_cond_wait(&a->changed, &a->lock);
    pthread_mutex_unlock(&a->lock);
    return &s->prepared;
}

void ahead_drop(struct ahead *a)
{
    pthread_mutex_lock(&a->lock);
    a->taken++;
    pthread_mutex_unlock(&a->lock);
}
