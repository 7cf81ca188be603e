/*
 * atelier-rerank: scores each caption's candidates with CLIP and keeps the best.
 *
 *   atelier-sampler ... | atelier-rerank --clip clip.safetensors --top 32 --out dir:out
 *
 * The candidates of a caption come one after another (as the sampler gives them). With --page DIR it also writes
 * DIR/index.html and DIR/sheet.png for people; with --out dir:PATH and no --page, they go to PATH.
 */
#include "common/endpoint.h"
#include "common/err.h"
#include "common/stage.h"
#include "common/utf8.h"
#include "models/clip.h"
#include "models/clip_text.h"
#include "models/model_path.h"
#include "rerank/page.h"
#include <stdlib.h>
#include <string.h>

#define BATCH 64 /* pictures scored together, whose files are decoded by all cores */

enum { KEY_CLIP = 256, KEY_VOCAB, KEY_TOP, KEY_PAGE, KEY_TITLE, KEY_TRUTH, KEY_COLUMNS, KEY_DEVICE };

struct rerank {
    const char *path, *vocab, *page_dir, *title, *truth, *device;
    int64_t top, columns;
    struct clip *clip;
    struct bpe *bpe;
    struct bpe_worker *worker;
    struct ints ids;
    int32_t *text;       /* [context] */
    float *text_feature; /* [embed] */
    uint8_t *squares;    /* [BATCH, side, side, 3] */
    float *features;     /* [BATCH, embed] */
    struct record *best; /* [top + BATCH]: the best so far, sorted, then the pending ones */
    int kept, pending;
    struct record group;   /* the caption of the present group; its candidate is the last one's */
    bool open;             /* a group is open */
    struct record *truths; /* sorted by caption */
    size_t truth_count;
    struct page *page;
};

static int set_option(void *self, int key, const char *arg)
{
    struct rerank *s = self;
    switch (key) {
    case KEY_DEVICE:
        s->device = arg;
        return 0;
    case KEY_CLIP:
        s->path = arg;
        return 0;
    case KEY_VOCAB:
        s->vocab = arg;
        return 0;
    case KEY_TOP:
        return option_int("top", arg, 1, 1 << 20, &s->top);
    case KEY_COLUMNS:
        return option_int("columns", arg, 1, 64, &s->columns);
    case KEY_PAGE:
        s->page_dir = arg;
        return 0;
    case KEY_TITLE:
        s->title = arg;
        return 0;
    default:
        s->truth = arg;
        return 0;
    }
}

static int by_caption(const void *a, const void *b)
{
    const struct buf *x = &((const struct record *)a)->caption, *y = &((const struct record *)b)->caption;
    size_t n = x->len < y->len ? x->len : y->len;
    int order = n ? memcmp(x->data, y->data, n) : 0;
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

static int load_truths(struct rerank *s)
{
    struct source *source;
    struct source_options options = {0};
    struct record r = {0};
    if (source_open(&source, s->truth, &options))
        return -1;
    int rc;
    while ((rc = source_next(source, &r)) == 1) {
        if (record_has(&r, FIELD_REJECT))
            continue;
        s->truths = xrealloc(s->truths, (s->truth_count + 1) * sizeof *s->truths);
        s->truths[s->truth_count++] = r;
        r = (struct record){0};
    }
    record_free(&r);
    source_close(&source);
    if (s->truth_count)
        qsort(s->truths, s->truth_count, sizeof *s->truths, by_caption);
    return rc;
}

static int start(void *self, struct stage_output *out)
{
    struct rerank *s = self;
    if (!s->path)
        return err_set(ERR_USAGE, "--clip FILE is needed: a run's directory or a weights file");
    const struct kernels *k = kernels_open(s->device, BF16);
    char *path = model_path(s->path), *vocab = s->vocab ? xstrdup(s->vocab) : model_companion(s->path, "vocab.json");
    int rc = !k || clip_open(&s->clip, k, path, BATCH) || bpe_open(&s->bpe, vocab) ? -1 : 0;
    if (!rc && clip_text_vocab(s->bpe) != clip_config(s->clip)->vocab)
        rc = err_set(ERR_DATA, "%s has %d tokens, %s was trained with %d", vocab, clip_text_vocab(s->bpe), path,
                     clip_config(s->clip)->vocab);
    free(path);
    free(vocab);
    if (rc || (s->truth && load_truths(s)))
        return -1;
    const struct clip_config *c = clip_config(s->clip);
    s->worker = bpe_worker_new(s->bpe);
    s->text = xmalloc((size_t)c->context * sizeof *s->text);
    s->text_feature = xmalloc((size_t)c->embed * sizeof *s->text_feature);
    s->squares = xmalloc((size_t)BATCH * c->side * c->side * 3);
    s->features = xmalloc((size_t)BATCH * (size_t)c->embed * sizeof *s->features);
    s->best = xcalloc((size_t)s->top + BATCH, sizeof *s->best);
    const char *uri = stage_output_uri(out);
    if (uri && !s->page_dir && !strncmp(uri, "dir:", 4))
        s->page_dir = uri + 4;
    if (uri && s->page_dir)
        s->page = page_new(s->page_dir, s->title, (int)(s->columns < s->top ? s->columns : s->top));
    return 0;
}

static int by_score(const void *a, const void *b)
{
    const struct record *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return (x->candidate > y->candidate) - (x->candidate < y->candidate);
}

static void see(struct rerank *s, int i)
{
    struct record *r = &s->best[s->kept + i];
    struct image im;
    int side = clip_config(s->clip)->side;
    if (!record_has(r, FIELD_IMAGE)) {
        record_reject(r, "image: none");
    } else if (image_decode(&im, r->image.data, r->image.len, 0, 1)) {
        record_reject(r, "image: %s", err_text());
    } else {
        clip_square(&im, side, s->squares + (size_t)i * side * side * 3);
        image_free(&im);
    }
}

/* Decodes the pending candidates; those that are no pictures leave as rejects. */
static int see_pending(struct rerank *s, struct stage_output *out)
{
    size_t square = (size_t)clip_config(s->clip)->side * (size_t)clip_config(s->clip)->side * 3;
    int seen = 0;
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < s->pending; i++)
        see(s, i);
    for (int i = 0; i < s->pending; i++) {
        struct record *r = &s->best[s->kept + i], *to = &s->best[s->kept + seen], swap = *to;
        if (record_has(r, FIELD_REJECT)) {
            if (stage_emit(out, r))
                return -1;
            continue;
        }
        memmove(s->squares + (size_t)seen++ * square, s->squares + (size_t)i * square, square);
        *to = *r;
        *r = swap;
    }
    s->pending = seen;
    return 0;
}

/* Scores the pending candidates and merges them into the best. 0 or -1. */
static int score_pending(struct rerank *s, struct stage_output *out)
{
    const struct clip_config *c = clip_config(s->clip);
    double scale = clip_logit_scale(s->clip);
    if (see_pending(s, out))
        return -1;
    clip_square_features(s->clip, s->squares, s->pending, true, s->features);
    for (int i = 0; i < s->pending; i++) {
        double cosine = 0;
        for (int j = 0; j < c->embed; j++)
            cosine += (double)s->features[i * c->embed + j] * s->text_feature[j];
        record_set_number(&s->best[s->kept + i], FIELD_SCORE, cosine * scale);
    }
    s->kept += s->pending;
    s->pending = 0;
    qsort(s->best, (size_t)s->kept, sizeof *s->best, by_score);
    if (s->kept > s->top)
        s->kept = (int)s->top;
    return 0;
}

static int page_group(struct rerank *s)
{
    struct buf caption = {0};
    utf8_append_valid(&caption, s->group.caption.data, s->group.caption.len);
    const struct record *truth =
        s->truth_count ? bsearch(&s->group, s->truths, s->truth_count, sizeof *s->truths, by_caption) : NULL;
    int rc = page_row(s->page, buf_string(&caption), truth ? &truth->image : NULL);
    for (int i = 0; i < s->kept && !rc; i++)
        rc = page_candidate(s->page, &s->best[i]);
    buf_free(&caption);
    return rc;
}

static int end_group(struct rerank *s, struct stage_output *out)
{
    if (!s->open)
        return 0;
    if (score_pending(s, out))
        return -1;
    for (int i = 0; i < s->kept; i++)
        if (stage_emit(out, &s->best[i]))
            return -1;
    int rc = s->page && s->kept ? page_group(s) : 0;
    s->kept = 0;
    s->open = false;
    return rc;
}

static void begin_group(struct rerank *s, const struct record *r)
{
    record_clear(&s->group);
    record_set_string(&s->group, FIELD_CAPTION, r->caption.data, r->caption.len);
    clip_text_ids(s->bpe, s->worker, (const char *)r->caption.data, r->caption.len, clip_config(s->clip)->context,
                  &s->ids, s->text);
    clip_text_features(s->clip, s->text, 1, true, s->text_feature);
    s->open = true;
}

static int process(void *self, struct record *r, struct stage_output *out)
{
    struct rerank *s = self;
    if (s->open && (by_caption(&s->group, r) || r->candidate <= s->group.candidate) && end_group(s, out))
        return -1;
    if (!s->open)
        begin_group(s, r);
    s->group.candidate = r->candidate;
    record_copy(&s->best[s->kept + s->pending++], r);
    return s->pending == BATCH ? score_pending(s, out) : 0;
}

static int finish(void *self, struct stage_output *out)
{
    struct rerank *s = self;
    return end_group(s, out) || (s->page && page_write(s->page)) ? -1 : 0;
}

static void close_rerank(void *self)
{
    struct rerank *s = self;
    for (int64_t i = 0; s->best && i < s->top + BATCH; i++)
        record_free(&s->best[i]);
    for (size_t i = 0; i < s->truth_count; i++)
        record_free(&s->truths[i]);
    clip_free(&s->clip);
    bpe_worker_free(&s->worker);
    bpe_free(&s->bpe);
    record_free(&s->group);
    page_free(&s->page);
    free(s->ids.data);
    free(s->text);
    free(s->text_feature);
    free(s->squares);
    free(s->features);
    free(s->best);
    free(s->truths);
}

static const struct argp_option options[] = {
    {"clip", KEY_CLIP, "FILE", 0, "CLIP: a run's directory, or a weights file of any layout", 0},
    {"vocab", KEY_VOCAB, "FILE", 0, "Its vocabulary (default: vocab.json beside it)", 0},
    {"device", KEY_DEVICE, "NAME", 0, "Where to compute: cpu (default), cuda, cuda:N, or auto", 0},
    {"top", KEY_TOP, "K", 0, "How many candidates a caption are kept (default 8)", 0},
    {"page", KEY_PAGE, "DIR", 0, "Write index.html and sheet.png there (default: PATH of --out dir:PATH)", 0},
    {"title", KEY_TITLE, "TEXT", 0, "What heads them", 0},
    {"columns", KEY_COLUMNS, "N", 0, "Most candidates shown a caption (default 8)", 0},
    {"truth", KEY_TRUTH, "URI", 0, "True pictures, shown beside the candidates of their captions", 0},
    {0},
};

int main(int argc, char **argv)
{
    static const struct stage stage = {
        .name = "rerank",
        .doc = "Scores candidates with CLIP and keeps the best of each caption.",
        .options = options,
        .option = set_option,
        .start = start,
        .process = process,
        .finish = finish,
        .close = close_rerank,
    };
    struct rerank s = {.device = "cpu", .top = 8, .columns = 8, .title = "Atelier: candidates"};
    return stage_main(&stage, &s, argc, argv);
}
