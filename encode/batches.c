/*
 * Batches through the dVAE (batches.h).
 */
#include "encode/batches.h"
#include "common/mem.h"
#include "common/stage.h"

#include <stdlib.h>
#include <string.h>

struct batches {
    struct dvae *dvae;
    struct ahead *ahead;
    struct batches_taker taker;
    size_t views, most, square, cells; /* most: squares of a batch; square: bytes of one */
    uint8_t *pictures;                 /* [most, side, side, 3]: the next batch */
    int32_t *codes;                    /* [most, cells]: the last one's */
    size_t running;                    /* squares of the batch that is computed */

    /* The next square to bring, as a view of a record of the queue; and the oldest record's codes so far. */
    uint64_t record;
    size_t view, done;
    int32_t *record_codes; /* [views, cells] */
    int32_t *last;         /* [most, cells]: the codes of records' last views, and what they decode to; NULL: unused */
    uint8_t *seen;         /* [most, side, side, 3] */
};

struct batches *batches_new(struct dvae *d, struct ahead *a, int views, bool decode, const struct batches_taker *taker)
{
    struct batches *b = xmalloc(sizeof *b);
    size_t side = (size_t)dvae_side(d), grid = (size_t)dvae_grid(d);
    *b = (struct batches){.dvae = d, .ahead = a, .taker = *taker, .views = (size_t)views};
    b->most = (size_t)dvae_batch(d);
    b->square = side * side * 3;
    b->cells = grid * grid;
    b->pictures = xmalloc(b->most * b->square);
    b->codes = xmalloc(b->most * b->cells * sizeof *b->codes);
    b->record_codes = xmalloc(b->views * b->cells * sizeof *b->record_codes);
    if (decode) {
        b->last = xmalloc(b->most * b->cells * sizeof *b->last);
        b->seen = xmalloc(b->most * b->square);
    }
    return b;
}

void batches_free(struct batches **batches)
{
    struct batches *b = *batches;
    if (!b)
        return;
    *batches = NULL;
    free(b->pictures);
    free(b->codes);
    free(b->record_codes);
    free(b->last);
    free(b->seen);
    free(b);
}

/* Collects the next squares; how many. */
static size_t gather(struct batches *b)
{
    size_t n = 0;
    for (struct prepared *p; n < b->most && (p = ahead_at(b->ahead, b->record)) != NULL;) {
        if (p->squares && b->view < b->views)
            memcpy(b->pictures + n++ * b->square, p->squares + b->view++ * b->square, b->square);
        if (p->squares && b->view < b->views)
            continue;
        b->record++;
        b->view = 0;
    }
    return n;
}

/* Of `n` squares, whose codes are there, decodes those of last views. What is no code is for who takes it to refuse. */
static void decode(struct batches *b, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if ((b->done + i) % b->views < b->views - 1)
            continue;
        for (size_t j = 0; j < b->cells; j++) {
            int32_t code = b->codes[i * b->cells + j];
            b->last[count * b->cells + j] = code < 0 ? 0 : code;
        }
        count++;
    }
    if (count > 0)
        dvae_decode(b->dvae, b->last, (int)count, b->seen);
}

static int take_oldest(struct batches *b, struct prepared *p, const int32_t *codes, uint8_t *seen)
{
    int rc = b->taker.take(b->taker.self, p, codes, seen);
    ahead_drop(b->ahead);
    b->record--;
    b->done = 0;
    return rc;
}

/* Gives out what `n` squares, whose codes are there, complete, and what stands between. */
static int give(struct batches *b, size_t n)
{
    uint8_t *seen = b->seen;
    for (size_t i = 0; b->record > 0 || b->view > 0;) {
        struct prepared *p = ahead_at(b->ahead, 0);
        if (!p->squares) {
            if (take_oldest(b, p, NULL, NULL))
                return -1;
            continue;
        }
        for (; i < n && b->done < b->views; i++, b->done++)
            memcpy(b->record_codes + b->done * b->cells, b->codes + i * b->cells, b->cells * sizeof *b->codes);
        if (b->done < b->views)
            break;
        if (take_oldest(b, p, b->record_codes, seen))
            return -1;
        seen = seen ? seen + b->square : NULL;
    }
    return 0;
}

int batches_step(struct batches *b)
{
    size_t next = gather(b), last = b->running;
    if (next > 0)
        dvae_encode_put(b->dvae, b->pictures, (int)next);
    if (last > 0)
        dvae_encode_fetch(b->dvae, (int)last, b->codes);
    if (next > 0)
        dvae_encode_run(b->dvae, (int)next);
    b->running = next;
    stage_tick(); /* a batch may be all of a picture's views, or many pictures */
    if (b->last)
        decode(b, last);
    return give(b, last);
}

int batches_flush(struct batches *b)
{
    do {
        if (batches_step(b))
            return -1;
    } while (b->running > 0 || ahead_at(b->ahead, 0));
    return 0;
}
