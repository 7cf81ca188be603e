/*
 * atelier-emoji: renders Debian's emoji font into captioned pictures, the demo's real data set.
 *
 *   atelier-emoji --set people --out tar:train-{000..003}.tar --heldout tar:heldout.tar
 *
 * Some combinations of a role, a gender and a skin tone go to --heldout alone. With --noise, records that a filter
 * should drop are mixed into --out: captions in other languages, boilerplate, one-word captions, bad aspect ratios,
 * broken files.
 */
#include "common/endpoint.h"
#include "common/err.h"
#include "common/log.h"
#include "common/random.h"
#include "common/stage.h"
#include "pipelines/emoji.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JPEG_QUALITY 95
#define NOISE_EVERY 5 /* one bad record after so many good ones */

static const char *const languages[] = {"de", "fr", "es", "it", "pl", "nl", "sv", "pt", "cs", "ru", "ja", "ko"};
#define LANGUAGES (sizeof languages / sizeof *languages)

static const char *const boilerplate[] = {
    "photographed on 8 July 2008",       "IMG_0520.JPG",
    "stock photo, click to enlarge",     "embedded image permalink",
    "uploaded by DSC01234.JPG, 2014",    "2012:05:16 09:56:37",
    "taken on Friday 16th of May, 2014", "profile photo",
};
#define BOILERPLATE (sizeof boilerplate / sizeof *boilerplate)

struct builder {
    const char *out, *heldout;
    bool people_only, noise;
    int64_t size, limit;
    struct emoji_set emoji;
    struct emoji_names names[LANGUAGES];
    struct sink *train_sink, *heldout_sink;
    uint64_t key, train_count, heldout_count, noise_count;
};

/* "a drawing of an astronaut, dark skin tone". */
static char *caption_of(const struct emoji *e)
{
    const char *colon = strstr(e->name, ": "), *attributes = colon ? colon + 2 : "";
    const char *article = strchr("aeiouAEIOU", e->base[0]) ? "an" : "a";
    return xasprintf("a drawing of %s %s%s%s", article, e->base, *attributes ? ", " : "", attributes);
}

static int put(struct sink *sink, uint64_t id, const char *name, const char *caption, const struct buf *picture)
{
    struct record r = {0};
    char key[160];
    int n = snprintf(key, sizeof key, "%05llu-", (unsigned long long)id);
    for (const char *p = name; *p && n < 150; p++)
        if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9'))
            key[n++] = *p;
        else if (key[n - 1] != '-')
            key[n++] = '-';
    record_set_u64(&r, FIELD_ID, id);
    record_set_string(&r, FIELD_KEY, key, (size_t)n);
    record_set_string(&r, FIELD_CAPTION, caption, strlen(caption));
    record_set_string(&r, FIELD_IMAGE, picture->data, picture->len);
    int rc = sink_put(sink, &r);
    record_free(&r);
    return rc;
}

/* One tone of a gendered role is never trained on, for half of these roles. */
static bool is_heldout(const struct builder *b, const struct emoji *e)
{
    if (!e->people || !e->tone || (strncmp(e->base, "man ", 4) != 0 && strncmp(e->base, "woman ", 6) != 0))
        return false;
    uint64_t hash = 5381;
    for (const char *p = e->base; *p; p++)
        hash = hash * 33 + (unsigned char)*p;
    struct random4 r = random_philox(b->key, 0, hash);
    return r.v[0] % 2 == 0 && (int)(r.v[1] % 5) + 1 == e->tone;
}

/* A canvas three times as wide (or high) as the picture. */
static int stretched(const struct image *im, bool wide, struct buf *out)
{
    struct image canvas;
    image_alloc(&canvas, im->width * (wide ? 3 : 1), im->height * (wide ? 1 : 3));
    memset(canvas.rgb, 255, (size_t)canvas.width * canvas.height * 3);
    image_paste(&canvas, im, wide ? im->width : 0, wide ? 0 : im->height);
    int rc = image_encode_jpeg(&canvas, JPEG_QUALITY, out);
    image_free(&canvas);
    return rc;
}

/* Damage as it is met: a download cut short, an error page saved as a picture, a header with an absurd size. */
static void damaged(const struct buf *picture, unsigned kind, struct buf *out)
{
    if (kind == 0) {
        buf_append(out, picture->data, picture->len / 2);
    } else if (kind == 1) {
        buf_printf(out, "<html><body>404 Not Found</body></html>");
    } else {
        buf_append(out, picture->data, picture->len);
        for (size_t i = 2; i + 9 < out->len; i++)
            if (out->data[i] == 0xFF && out->data[i + 1] == 0xC0) {
                memset(out->data + i + 5, 0xFF, 4);
                break;
            }
    }
}

static int put_noise(struct builder *b, const struct emoji *e, const struct image *im, const struct buf *picture)
{
    uint64_t id = b->train_count + b->noise_count, n = b->noise_count++;
    char *caption = caption_of(e);
    const char *text = caption;
    struct buf other = {0};
    int rc = 0;
    switch (n % 5) {
    case 0: {
        const char *name = emoji_names_find(&b->names[n / 5 % LANGUAGES], e->text);
        text = name ? name : boilerplate[n % BOILERPLATE];
        break;
    }
    case 1:
        text = boilerplate[n / 5 % BOILERPLATE];
        break;
    case 2:
        rc = stretched(im, n / 5 % 2, &other);
        break;
    case 3:
        damaged(picture, n / 5 % 3, &other);
        break;
    default:
        text = "drawing";
    }
    if (!rc)
        rc = put(b->train_sink, id, e->name, text, other.len ? &other : picture);
    buf_free(&other);
    free(caption);
    return rc;
}

static int build_one(struct builder *b, const struct emoji *e)
{
    struct image im;
    struct buf picture = {0};
    if (emoji_draw(e->text, (int)b->size, &im))
        return 0; /* newer than the installed font */
    char *caption = caption_of(e);
    int rc = image_encode_jpeg(&im, JPEG_QUALITY, &picture);
    if (!rc && is_heldout(b, e)) {
        rc = put(b->heldout_sink, b->heldout_count++, e->name, caption, &picture);
    } else if (!rc) {
        rc = put(b->train_sink, b->train_count + b->noise_count, e->name, caption, &picture);
        b->train_count++;
        if (!rc && b->noise && b->train_count % NOISE_EVERY == 0)
            rc = put_noise(b, e, &im, &picture);
    }
    free(caption);
    buf_free(&picture);
    image_free(&im);
    return rc;
}

static int build(struct builder *b)
{
    struct sink_options options = {0};
    if (emoji_load(&b->emoji) || sink_open(&b->train_sink, b->out, &options) ||
        sink_open(&b->heldout_sink, b->heldout, &options))
        return -1;
    for (size_t i = 0; b->noise && i < LANGUAGES; i++)
        if (emoji_names_load(&b->names[i], languages[i]))
            return -1;
    int64_t left = b->limit;
    for (int i = 0; i < b->emoji.count && left && !stage_stopping(); i++) {
        if (b->people_only && !b->emoji.list[i].people)
            continue;
        if (build_one(b, &b->emoji.list[i]))
            return -1;
        left--;
        log_progress("emoji: %d of %d drawn", i + 1, b->emoji.count);
    }
    if (stage_stopping())
        return err_set(ERR_AGAIN, "stopped by a signal; nothing was written");
    if (sink_finish(b->train_sink) < 0 || sink_finish(b->heldout_sink) < 0)
        return -1;
    if (b->train_count == 0)
        return err_set(ERR_IO, "no emoji could be drawn: install Debian's package fonts-noto-color-emoji");
    log_info("%llu drawings, %llu more held out, %llu records of noise", (unsigned long long)b->train_count,
             (unsigned long long)b->heldout_count, (unsigned long long)b->noise_count);
    return 0;
}

enum { KEY_HELDOUT = 256, KEY_SET, KEY_NOISE, KEY_SIZE, KEY_LIMIT, KEY_SEED };

static const struct argp_option options[] = {
    {"out", 'o', "URI", 0, "Where the training pictures go", 0},
    {"heldout", KEY_HELDOUT, "URI", 0, "Where the held-out combinations go", 0},
    {"set", KEY_SET, "people|all", 0, "Single people (default), or every emoji", 0},
    {"noise", KEY_NOISE, NULL, 0, "Mix in records that a filter should drop", 0},
    {"size", KEY_SIZE, "PIXELS", 0, "Side of the pictures (default 128)", 0},
    {"limit", KEY_LIMIT, "N", 0, "The first N emoji alone", 0},
    {"seed", KEY_SEED, "N", 0, "Which combinations are held out (default 1)", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct builder *b = state->input;
    int64_t seed;
    int rc = 0;
    switch (key) {
    case 'o':
        b->out = arg;
        break;
    case KEY_HELDOUT:
        b->heldout = arg;
        break;
    case KEY_SET:
        b->people_only = !strcmp(arg, "people");
        if (!b->people_only && strcmp(arg, "all") != 0)
            argp_error(state, "--set %s: people or all", arg);
        break;
    case KEY_NOISE:
        b->noise = true;
        break;
    case KEY_SIZE:
        rc = option_int("size", arg, 16, 136, &b->size);
        break;
    case KEY_LIMIT:
        rc = option_int("limit", arg, 1, INT32_MAX, &b->limit);
        break;
    case KEY_SEED:
        rc = option_int("seed", arg, 0, INT64_MAX, &seed);
        b->key = rc ? 0 : (uint64_t)seed;
        break;
    case ARGP_KEY_END:
        if (!b->out || !b->heldout)
            argp_error(state, "--out and --heldout are needed");
        else if (!strcmp(b->out, b->heldout))
            argp_error(state, "--out and --heldout are both '%s': each needs a place of its own", b->out);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    if (rc)
        argp_error(state, "%s", err_text());
    return 0;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options, .parser = parse, .doc = "Renders the emoji font into captioned pictures."};
    struct builder b = {.people_only = true, .size = 128, .limit = -1, .key = 1};
    argp_program_version = "atelier-emoji " ATELIER_VERSION;
    argp_err_exit_status = ERR_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &b))
        return ERR_USAGE;
    log_open("emoji", false);
    stage_catch_signals();
    int rc = build(&b);
    if (rc)
        log_error("%s", err_text());
    sink_close(&b.train_sink);
    sink_close(&b.heldout_sink);
    for (size_t i = 0; i < LANGUAGES; i++)
        emoji_names_free(&b.names[i]);
    emoji_free(&b.emoji);
    return rc ? err_code() : 0;
}
