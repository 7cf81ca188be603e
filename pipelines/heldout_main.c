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
#include "common/err.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/stage.h"
#include "pipelines/heldout.h"
#include <argp.h>
#include <stdio.h>

struct heldout {
    const char *samples, *truth, *reconstructed, *set, *json;
    int64_t side;
    struct drawings real, seen, drawn; /* truths then the set; reconstructions; samples */
    int truths;
};

static void say_line(const char *name, const struct heldout_score *s)
{
    printf("  %-28s true drawing nearest %3d of %d (%5.1f%%)   right skin tone %3d of %d (%5.1f%%)   RMS %.1f\n", name,
           s->nearest, s->count, 100.0 * s->nearest / s->count, s->tone, s->families,
           100.0 * s->tone / (s->families ? s->families : 1), s->error / s->count);
}

static int write_json(const struct heldout *h, const struct heldout_score *drawn, const struct heldout_score *seen)
{
    struct buf b = {0};
    const struct heldout_score *scores[] = {drawn, seen};
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
    if (drawings_load(&h->real, h->truth, side))
        return -1;
    h->truths = h->real.count;
    if (drawings_load(&h->real, h->set, side) || drawings_load(&h->seen, h->reconstructed, side) ||
        drawings_load(&h->drawn, h->samples, side))
        return -1;
    struct heldout_score drawn = heldout_judge(&h->drawn, &h->real, h->truths, side);
    struct heldout_score seen = heldout_judge(&h->seen, &h->real, h->truths, side);
    if (!drawn.count || !seen.count)
        return err_set(ERR_DATA, "no sample (or reconstruction) has the caption of a drawing in %s", h->truth);
    if (drawn.count < h->truths || seen.count < h->truths)
        log_warn("%d drawings in %s, but samples for %d of them, reconstructions for %d", h->truths, h->truth,
                 drawn.count, seen.count);
    printf("Held out: %d captions, against %d real drawings\n", drawn.count, h->real.count);
    say_line("samples (best by CLIP)", &drawn);
    say_line("ceiling: reconstructions", &seen);
    printf("  %-28s true drawing nearest %.2f of %d (%5.2f%%)  right skin tone %.1f of %d (%5.1f%%)\n", "chance",
           drawn.chance, drawn.count, 100 * drawn.chance / drawn.count, drawn.tone_chance, drawn.families,
           100 * drawn.tone_chance / (drawn.families ? drawn.families : 1));
    return h->json ? write_json(h, &drawn, &seen) : 0;
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
    if (argp_parse(&argp, argc, argv, 0, NULL, &h) != 0)
        mem_gone(0);
    log_open("heldout", false);
    int rc = run(&h);
    if (rc)
        log_error("%s", err_text());
    drawings_free(&h.real);
    drawings_free(&h.seen);
    drawings_free(&h.drawn);
    return rc ? err_code() : 0;
}
