/*
 * CLIP: features and scores in either layout, the training loss and its gradients, preprocessing.
 */
#include "common/err.h"
#include "common/mem.h"
#include "models/clip.h"
#include "tests/golden/golden.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct samples {
    int pictures, texts;
    float *image;  /* [pictures, side, side, 3] */
    int32_t *text; /* [texts, context] */
};

static void free_samples(struct samples *s)
{
    free(s->image);
    free(s->text);
}

static int read_samples(const struct golden *g, const struct clip_config *c, struct samples *s)
{
    const struct weight *image = golden_find(g, "in.image", 4, (const int64_t[]){0, 3, c->side, c->side});
    const struct weight *text = golden_find(g, "in.text", 2, (const int64_t[]){0, c->context});
    if (!image || !text)
        return -1;
    *s = (struct samples){
        .pictures = (int)image->shape[0], .texts = (int)text->shape[0], .text = golden_read_ints(text)};
    if (!s->text)
        return -1;
    for (size_t i = 0; i < text->count; i++) {
        if (s->text[i] < 0 || s->text[i] >= c->vocab)
            return err_set(ERR_DATA, "in.text holds ids that the vocabulary does not have");
    }
    float *nchw = golden_read(image);
    s->image = xmalloc(image->count * sizeof *s->image);
    golden_transpose(s->image, nchw, (size_t)s->pictures, 3, (size_t)c->side * (size_t)c->side);
    free(nchw);
    return 0;
}

/* The model that the file's weights make, with room for all of its samples. */
static int open_clip(const struct golden *g, struct clip **c, struct samples *s)
{
    double heads_vision, heads_text;
    const struct weight *image = golden_find(g, "in.image", 4, (const int64_t[]){0, 3, 0, 0});
    const struct weight *text = golden_find(g, "in.text", 2, (const int64_t[]){0, 0});
    if (!image || !text || golden_number(g, "heads_vision", 1, 1024, &heads_vision) != 0 ||
        golden_number(g, "heads_text", 1, 1024, &heads_text) != 0)
        return -1;
    int64_t batch = image->shape[0] > text->shape[0] ? image->shape[0] : text->shape[0];
    if (batch > 1 << 16)
        return err_set(ERR_DATA, "more than %d samples", 1 << 16);
    if (clip_open_weights(c, g->k, g->w, "w.", (int)heads_vision, (int)heads_text, (int)batch) != 0)
        return -1;
    return read_samples(g, clip_config(*c), s);
}

static void normalise(float *features, size_t rows, size_t d)
{
    for (size_t i = 0; i < rows; i++) {
        double sum = 0;
        for (size_t j = 0; j < d; j++)
            sum += (double)features[i * d + j] * (double)features[i * d + j];
        for (size_t j = 0; j < d; j++)
            features[i * d + j] = (float)(features[i * d + j] / sqrt(sum));
    }
}

static int check_scores(struct golden *g, const struct samples *s, float scale, float *image, float *text, size_t d)
{
    size_t rows = (size_t)s->pictures, cols = (size_t)s->texts;
    float *scores = xmalloc(rows * cols * sizeof *scores);
    normalise(image, rows, d);
    normalise(text, cols, d);
    for (size_t i = 0; i < rows * cols; i++) {
        double sum = 0;
        for (size_t j = 0; j < d; j++)
            sum += (double)image[i / cols * d + j] * (double)text[i % cols * d + j];
        scores[i] = (float)(scale * sum);
    }
    int status = golden_expect(g, "out.logits_per_image", scores, rows * cols, GOLDEN_VALUE);
    free(scores);
    return status;
}

int golden_clip(struct golden *g)
{
    struct clip *c = NULL;
    struct samples s = {0};
    int status = open_clip(g, &c, &s);
    if (status == 0) {
        const char *features = weights_meta(g->w, "features");
        bool normalised = features && strcmp(features, "normalised") == 0;
        size_t d = (size_t)clip_config(c)->embed;
        size_t pictures = (size_t)s.pictures * d, texts = (size_t)s.texts * d;
        float *image = xmalloc(pictures * sizeof *image), *text = xmalloc(texts * sizeof *text);
        clip_image_features(c, s.image, s.pictures, normalised, image);
        clip_text_features(c, s.text, s.texts, normalised, text);
        status = golden_expect(g, "out.image_features", image, pictures, GOLDEN_VALUE);
        if (status == 0)
            status = golden_expect(g, "out.text_features", text, texts, GOLDEN_VALUE);
        if (status == 0)
            status = check_scores(g, &s, clip_logit_scale(c), image, text, d);
        free(image);
        free(text);
    }
    clip_free(&c);
    free_samples(&s);
    return status;
}

int golden_clip_train(struct golden *g)
{
    struct clip *c = NULL, *trained = NULL;
    struct samples s = {0};
    int status = open_clip(g, &c, &s);
    if (status == 0 && s.pictures != s.texts)
        status = err_set(ERR_DATA, "%d pictures do not pair with %d texts", s.pictures, s.texts);
    if (status == 0)
        status = clip_new(&trained, g->k, clip_config(c), s.pictures, true);
    if (status == 0) {
        struct params *p = clip_params(trained);
        g->k->copy(p->values, clip_params(c)->values, p->total);
        float loss;
        status = clip_train(trained, s.image, s.text, s.pictures, &loss, NULL);
        if (status == 0)
            status = golden_expect(g, "out.loss", &loss, 1, GOLDEN_VALUE);
        if (status == 0)
            status = golden_gradients(g, p);
    }
    clip_free(&trained);
    clip_free(&c);
    free_samples(&s);
    return status;
}

/* One tensor "out." + the name of a photograph beside the file. */
static int check_photo(struct golden *g, const struct weight *t, int side)
{
    size_t area = (size_t)side * (size_t)side;
    if (!golden_find(g, t->name, 3, (const int64_t[]){3, side, side}))
        return -1;
    char *path = golden_beside(g, t->name + strlen("out."));
    struct buf file = {0};
    struct image im = {0};
    int status = file_read(path, (size_t)1 << 28, &file);
    if (status == 0 && (status = image_decode(&im, file.data, file.len, 0, 1)) != 0)
        err_wrap("%s", path);
    if (status == 0) {
        float *nhwc = xmalloc(3 * area * sizeof *nhwc), *nchw = xmalloc(3 * area * sizeof *nchw);
        clip_preprocess(&im, side, nhwc);
        golden_transpose(nchw, nhwc, 1, area, 3);
        status = golden_expect(g, t->name, nchw, 3 * area, GOLDEN_VALUE);
        free(nhwc);
        free(nchw);
    }
    image_free(&im);
    buf_free(&file);
    free(path);
    return status;
}

int golden_clip_preprocess(struct golden *g)
{
    double side;
    if (golden_number(g, "size", 1, 4096, &side) != 0)
        return -1;
    for (size_t i = 0; i < weights_count(g->w); i++) {
        const struct weight *t = weights_at(g->w, i);
        if (strncmp(t->name, "out.", 4) == 0 && check_photo(g, t, (int)side) != 0)
            return -1;
    }
    return 0;
}
