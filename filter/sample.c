/* A look by eye (sample.h): the records whose ids draw the lowest numbers. */
#include "filter/sample.h"
#include "common/log.h"
#include "common/random.h"
#include "common/utf8.h"
#include "filter/caption.h"
#include <stdlib.h>

#define DRAW_KEY 0x6C6F6F6Bu /* any: --sample draws nothing else */
#define SHOWN_BYTES 400

static uint64_t draw(uint64_t id)
{
    struct random4 r = random_philox(DRAW_KEY, id, 0);
    return (uint64_t)r.v[0] << 32 | r.v[1];
}

/* Without control characters, which would reach a terminal. */
static void append_shown(struct buf *line, const struct buf *text)
{
    struct buf clean = {0};
    caption_clean(text->len ? (const char *)text->data : "", text->len, &clean);
    buf_append(line, clean.data, utf8_cut(clean.data, clean.len, SHOWN_BYTES));
    buf_free(&clean);
}

static char *describe(const struct record *r)
{
    struct buf line = {0};
    append_shown(&line, &r->key);
    buf_printf(&line, ": '");
    append_shown(&line, &r->caption);
    buf_printf(&line, "'");
    if (record_has(r, FIELD_REJECT)) {
        buf_printf(&line, ": ");
        append_shown(&line, &r->reject);
    }
    return buf_string(&line);
}

static struct sample_pick *highest(const struct sample_drawn *d)
{
    struct sample_pick *pick = d->picks;
    for (size_t i = 1; i < d->count; i++)
        if (d->picks[i].draw > pick->draw)
            pick = &d->picks[i];
    return pick;
}

void sample_offer(struct sample *s, const struct record *r)
{
    struct sample_drawn *d = record_has(r, FIELD_REJECT) ? &s->rejected : &s->kept;
    struct sample_pick pick = {.draw = draw(r->id), .id = r->id};
    if (!d->picks)
        d->picks = xcalloc(s->most, sizeof *d->picks);
    if (d->count == s->most && pick.draw >= d->limit)
        return;
    struct sample_pick *place = d->count < s->most ? &d->picks[d->count++] : highest(d);
    free(place->line);
    pick.line = describe(r);
    *place = pick;
    d->limit = highest(d)->draw;
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = ((const struct sample_pick *)a)->id, y = ((const struct sample_pick *)b)->id;
    return (x > y) - (x < y);
}

static void log_drawn(struct sample_drawn *d, const char *kind)
{
    if (d->count > 0)
        qsort(d->picks, d->count, sizeof *d->picks, by_id);
    for (size_t i = 0; i < d->count; i++)
        log_info("%s: %s", kind, d->picks[i].line);
}

void sample_log(struct sample *s)
{
    log_drawn(&s->kept, "kept");
    log_drawn(&s->rejected, "rejected");
}

void sample_free(struct sample *s)
{
    struct sample_drawn *drawn[] = {&s->kept, &s->rejected};
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < drawn[k]->count; i++)
            free(drawn[k]->picks[i].line);
        free(drawn[k]->picks);
    }
}
