/*
 * atelier-heldout: do samples of captions that were never trained on look like the drawings that they name?
 *
 *   atelier-heldout --samples dir:out --truth tar:heldout.tar --reconstructed tar:seen.tar --set tar:kept.tar
 *
 * For each held-out caption its best candidate (the first in --samples) is compared with every real drawing: is the
 * true one nearest, over the whole set, and among the five skin tones of its family? The distance is the mean squared
 * difference of the pictures at --side pixels a side: the font draws every emoji on one canvas, so that pixels
 * correspond, and the error squared weighs a wrong skin or hat, large areas of one colour, above a blurred outline.
 * Beside it stand chance, and the encoder-decoder's own reconstruction of the true drawing: the ceiling for any prior.
 */
#include "common/endpoint.h"
#include "common/err.h"
#include "common/image.h"
#include "common/log.h"
#include "common/stage.h"
#include <argp.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TONE_ENDING " skin tone"

struct drawing {
    char *caption, *family; /* family: the caption without its skin tone; NULL when it has none */
    uint8_t *rgb;           /* [side, side, 3] */
};

struct drawings {
    struct drawing *list;
    int count;
};

struct heldout {
    const char *samples, *truth, *reconstructed, *set, *json;
    int64_t side;
    struct drawings real, seen, drawn; /* truths then the set; reconstructions; samples */
    int truths;
};

static char *family_of(const char *caption)
{
    size_t n = strlen(caption), ending = strlen(TONE_ENDING);
    const char *comma = strrchr(caption, ',');
    if (!comma || n < ending || strcmp(caption + n - ending, TONE_ENDING) != 0)
        return NULL;
    return xasprintf("%.*s", (int)(comma - caption), caption);
}

static int find(const struct drawings *d, const char *caption)
{
    for (int i = 0; i < d->count; i++)
        if (!strcmp(d->list[i].caption, caption))
            return i;
    return -1;
}

/* Adds the kept pictures of an endpoint; of several with one caption the first alone. 0 or -1. */
static int load(struct drawings *d, const char *uri, int side)
{
    struct source *source;
    struct source_options options = {0};
    struct record r = {0};
    if (source_open(&source, uri, &options))
        return -1;
    int rc;
    while ((rc = source_next(source, &r)) == 1) {
        struct image im, small;
        char *caption = xasprintf("%.*s", (int)r.caption.len, (const char *)r.caption.data);
        if (record_has(&r, FIELD_REJECT) || find(d, caption) >= 0 ||
            image_decode(&im, r.image.data, r.image.len, 0, 1)) {
            free(caption);
            continue;
        }
        image_center_square(&im, side, &small);
        image_free(&im);
        d->list = xrealloc(d->list, (size_t)(d->count + 1) * sizeof *d->list);
        d->list[d->count++] = (struct drawing){caption, family_of(caption), small.rgb};
    }
    record_free(&r);
    source_close(&source);
    return rc;
}

static double distance(const struct drawing *a, const struct drawing *b, int side)
{
    double sum = 0;
    for (int i = 0; i < side * side * 3; i++) {
        double d = (double)a->rgb[i] - b->rgb[i];
        sum += d * d;
    }
    return sum / (side * side * 3);
}

struct score {
    int count, nearest, families, tone; /* compared; nearest is the true one; with a family; nearest tone is right */
    double chance, tone_chance;         /* expected hits of a random choice */
    double error;                       /* sum of root mean squared distances to the true drawing */
};

/* True when no drawing of the set (of the family alone, if given) is nearer to `d` than real drawing `t`. */
static bool is_nearest(const struct heldout *h, const struct drawing *d, int t, const char *family, int *among)
{
    double own = distance(d, &h->real.list[t], (int)h->side);
    bool nearest = true;
    *among = 0;
    for (int i = 0; i < h->real.count; i++) {
        const struct drawing *other = &h->real.list[i];
        if (family && (!other->family || strcmp(other->family, family) != 0))
            continue;
        ++*among;
        nearest &= distance(d, other, (int)h->side) >= own;
    }
    return nearest;
}

static struct score judge(const struct heldout *h, const struct drawings *pictures)
{
    struct score s = {0};
    for (int t = 0; t < h->truths; t++) {
        const struct drawing *truth = &h->real.list[t];
        int at = find(pictures, truth->caption), among;
        if (at < 0)
            continue;
        const struct drawing *d = &pictures->list[at];
        s.count++;
        s.error += sqrt(distance(d, truth, (int)h->side));
        s.nearest += is_nearest(h, d, t, NULL, &among);
        s.chance += 1.0 / among;
        if (truth->family) {
            s.families++;
            s.tone += is_nearest(h, d, t, truth->family, &among);
            s.tone_chance += 1.0 / among;
        }
    }
    return s;
}

static void say_line(const char *name, const struct score *s)
{
    printf("  %-28s true drawing nearest %3d of %d (%5.1f%%)   right skin tone %3d of %d (%5.1f%%)   RMS %.1f\n", name,
           s->nearest, s->count, 100.0 * s->nearest / s->count, s->tone, s->families,
           100.0 * s->tone / (s->families ? s->families : 1), s->error / s->count);
}

static int write_json(const struct heldout *h, const struct score *drawn, const struct score *seen)
{
    struct buf b = {0};
    const struct score *scores[] = {drawn, seen};
    static const char *const names[] = {"samples", "reconstructions"};
    buf_printf(&b, "{\"drawings\": %d, \"chance\": %.6f, \"tone_chance\": %.4f", h->real.count,
               drawn->chance / drawn->count, drawn->tone_chance / (drawn->families ? drawn->families : 1));
    for (int i = 0; i < 2; i++)
        buf_printf(
            &b, ", \"%s\": {\"captions\": %d, \"nearest\": %d, \"with_tone\": %d, \"right_tone\": %d, \"rms\": %.3f}",
            names[i], scores[i]->count, scores[i]->nearest, scores[i]->families, scores[i]->tone,
            scores[i]->error / scores[i]->count);
    buf_printf(&b, "}\n");
    int rc = file_write(h->json, b.data, b.len);
    buf_free(&b);
    return rc;
}

static int run(struct heldout *h)
{
    int side = (int)h->side;
    if (load(&h->real, h->truth, side))
        return -1;
    h->truths = h->real.count;
    if (load(&h->real, h->set, side) || load(&h->seen, h->reconstructed, side) || load(&h->drawn, h->samples, side))
        return -1;
    struct score drawn = judge(h, &h->drawn), seen = judge(h, &h->seen);
    if (!drawn.count || !seen.count)
        return err_set(ERR_DATA, "no sample (or reconstruction) has the caption of a drawing in %s", h->truth);
    printf("Held out: %d captions, against %d real drawings\n", drawn.count, h->real.count);
    say_line("samples (best by CLIP)", &drawn);
    say_line("ceiling: reconstructions", &seen);
    printf("  %-28s true drawing nearest %.2f of %d (%5.2f%%)  right skin tone %.1f of %d (%5.1f%%)\n", "chance",
           drawn.chance, drawn.count, 100 * drawn.chance / drawn.count, drawn.tone_chance, drawn.families,
           100 * drawn.tone_chance / (drawn.families ? drawn.families : 1));
    return h->json ? write_json(h, &drawn, &seen) : 0;
}

static void drawings_free(struct drawings *d)
{
    for (int i = 0; i < d->count; i++) {
        free(d->list[i].caption);
        free(d->list[i].family);
        free(d->list[i].rgb);
    }
    free(d->list);
}

static const struct argp_option options[] = {
    {"samples", 's', "URI", 0, "Drawn pictures; the first of each caption is judged", 0},
    {"truth", 't', "URI", 0, "The held-out drawings", 0},
    {"reconstructed", 'r', "URI", 0, "The held-out drawings as the dVAE decodes their codes", 0},
    {"set", 'd', "URI", 0, "All other real drawings", 0},
    {"side", 'p', "PIXELS", 0, "Pictures are compared at this size (default 32)", 0},
    {"json", 'j', "FILE", 0, "Write the numbers there too", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct heldout *h = state->input;
    switch (key) {
    case 's':
        h->samples = arg;
        break;
    case 't':
        h->truth = arg;
        break;
    case 'r':
        h->reconstructed = arg;
        break;
    case 'd':
        h->set = arg;
        break;
    case 'j':
        h->json = arg;
        break;
    case 'p':
        if (option_int("side", arg, 8, 1024, &h->side))
            argp_error(state, "%s", err_text());
        break;
    case ARGP_KEY_END:
        if (!h->samples || !h->truth || !h->reconstructed || !h->set)
            argp_error(state, "--samples, --truth, --reconstructed and --set are needed");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options, .parser = parse, .doc = "Compares samples of held-out captions with the real drawings."};
    struct heldout h = {.side = 32};
    argp_program_version = "atelier-heldout " ATELIER_VERSION;
    argp_err_exit_status = ERR_USAGE;
    argp_parse(&argp, argc, argv, 0, NULL, &h);
    log_open("heldout", false);
    int rc = run(&h);
    if (rc)
        log_error("%s", err_text());
    drawings_free(&h.real);
    drawings_free(&h.seen);
    drawings_free(&h.drawn);
    return rc ? err_code() : 0;
}
