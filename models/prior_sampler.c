/*
 * Sampling from the prior with caches: the prefix (start and text) is computed once and shared by all candidates; then
 * each step takes one image position of all candidates through the layers, whose caches are rings of what the layer's
 * mask still reaches. With guidance there are two streams, the caption's and the empty caption's.
 */
#include "common/err.h"
#include "common/mem.h"
#include "common/random.h"
#include "models/prior.h"
#include "models/prior_private.h"

#include <stdlib.h>
#include <string.h>

struct layer_cache {
    struct tensor prefix; /* [streams, T + 1, 3 d] */
    struct tensor ring;   /* [streams, batch, attention_window, 2, d] */
    size_t ring_size;     /* elements of one stream */
};

struct prior_sampler {
    struct prior *prior;
    int batch, streams; /* streams: that there is memory for */
    struct arena arena;
    struct layer_cache *layers;
    struct block_acts prefix_acts, acts; /* of the prefix and of a step; shared by all layers */
    struct tensor prefix_ids;            /* [EMBEDDINGS, streams * (T + 1)] */
    struct tensor prefix_x;              /* [streams * (T + 1), d] */
    struct tensor prefix_sum, sum;       /* F32, like prefix_x and x: of embeddings; unused where those are F32 */
    struct tensor x;                     /* [streams * batch, d] */
    struct tensor y;                     /* [streams * batch, d], F32: the last LayerNorm */
    struct tensor logits;                /* [streams * batch, V] */
    struct tensor ids, uniforms;         /* [N, batch]: codes, and what they are drawn with */
    struct tensor places;                /* [N, 3] I32: position, row, column */

    /* What the operations of one position read and write, the same for every position, so that they can be recorded:
     * the position before and its codes, its row's and column's vectors; the draws and what they give. */
    struct tensor place, code, place_vectors, uniform, drawn; /* [3], [batch], [2, d], [batch], [batch] */
    int now_streams;
    const struct prior_draw *draw;
    int32_t *host_ids;    /* [N, batch] */
    float *host_uniforms; /* [N, batch] */
};

static void layout(void *self, struct arena *arena)
{
    struct prior_sampler *s = self;
    const struct prior_config *c = &s->prior->config;
    size_t d = (size_t)prior_width(c), batch = (size_t)s->batch, draws = (size_t)prior_positions(c) * batch;
    enum dtype states = s->prior->k->compute;
    struct block_shape prefix = prior_block_shape(s->prior, 0, s->streams, c->text_len + 1);
    struct block_shape step = prior_block_shape(s->prior, 0, s->streams * s->batch, 1);
    s->prefix_ids = arena_take(arena, EMBEDDINGS * (size_t)prefix.rows, I32);
    s->prefix_x = arena_take(arena, (size_t)prefix.rows * d, states);
    s->x = arena_take(arena, (size_t)step.rows * d, states);
    s->prefix_sum = states == F32 ? tensor_none() : arena_take(arena, (size_t)prefix.rows * d, F32);
    s->sum = states == F32 ? s->x : arena_take(arena, (size_t)step.rows * d, F32);
    s->y = arena_take(arena, (size_t)step.rows * d, F32);
    s->logits = arena_take(arena, (size_t)step.rows * (size_t)c->image_vocab, F32);
    s->ids = arena_take(arena, draws, I32);
    s->uniforms = arena_take(arena, draws, F32);
    s->places = arena_take(arena, (size_t)prior_positions(c) * 3, I32);
    s->place = arena_take(arena, 3, I32);
    s->code = arena_take(arena, batch, I32);
    s->place_vectors = arena_take(arena, 2 * d, F32);
    s->uniform = arena_take(arena, batch, F32);
    s->drawn = arena_take(arena, batch, I32);
    block_layout_acts(&s->prefix_acts, &prefix, false, arena);
    block_layout_acts(&s->acts, &step, false, arena);
    for (int i = 0; i < c->layers; i++) {
        struct layer_cache *l = &s->layers[i];
        int window = attention_window(prior_mask(c, i), c->grid, c->kernel);
        l->ring_size = batch * (size_t)window * 2 * d;
        l->prefix = arena_take(arena, (size_t)prefix.rows * 3 * d, states);
        l->ring = arena_take(arena, (size_t)s->streams * l->ring_size, states);
    }
}

static void upload_places(struct prior_sampler *s)
{
    int grid = s->prior->config.grid, positions = grid * grid;
    int32_t *places = xmalloc((size_t)positions * 3 * sizeof *places);
    for (int i = 0; i < positions; i++) {
        places[3 * i] = i;
        places[3 * i + 1] = i / grid;
        places[3 * i + 2] = i % grid;
    }
    s->prior->k->upload(s->places, places, (size_t)positions * 3);
    free(places);
}

/* The second stream's memory is taken when guidance is first asked for. */
static int reserve_streams(struct prior_sampler *s, int streams)
{
    if (streams <= s->streams)
        return 0;
    arena_free(&s->arena);
    s->streams = streams;
    if (arena_build(&s->arena, s->prior->k, layout, s) != 0) {
        s->streams = 0;
        return -1;
    }
    upload_places(s);
    return 0;
}

int prior_sampler_new(struct prior_sampler **out, struct prior *p, int batch)
{
    if (batch < 1 || batch > 1 << 16)
        return err_set(ERR_USAGE, "%d candidates cannot be computed together; ask for 1 to %d", batch, 1 << 16);
    struct prior_sampler *s = xcalloc(1, sizeof *s);
    size_t draws = (size_t)prior_positions(&p->config) * (size_t)batch;
    *s = (struct prior_sampler){.prior = p, .batch = batch};
    s->layers = xcalloc((size_t)p->config.layers, sizeof *s->layers);
    s->host_ids = xcalloc(draws, sizeof *s->host_ids);
    s->host_uniforms = xcalloc(draws, sizeof *s->host_uniforms);
    *out = s;
    if (reserve_streams(s, 1) == 0)
        return 0;
    prior_sampler_free(out);
    return -1;
}

void prior_sampler_free(struct prior_sampler **out)
{
    struct prior_sampler *s = *out;
    if (!s)
        return;
    *out = NULL;
    arena_free(&s->arena);
    free(s->host_uniforms);
    free(s->host_ids);
    free(s->layers);
    free(s);
}

/* All layers over start and text; each keeps its queries, keys and values. */
static void fill_prefix(struct prior_sampler *s, const int32_t *text, int streams)
{
    const struct prior *p = s->prior;
    int T = p->config.text_len, rows = streams * (T + 1);
    int32_t *captions = xmalloc(2 * (size_t)T * sizeof *captions);
    int32_t *rows_of_tables = xmalloc(EMBEDDINGS * (size_t)rows * sizeof *rows_of_tables);
    for (int i = 0; i < T; i++) {
        captions[i] = text[i];
        captions[T + i] = -1;
    }
    prior_name_rows(&p->config, captions, NULL, streams, T + 1, rows_of_tables);
    p->k->upload(s->prefix_ids, rows_of_tables, EMBEDDINGS * (size_t)rows);
    free(rows_of_tables);
    free(captions);
    prior_embed(p, s->prefix_x, s->prefix_sum, s->prefix_ids, rows);
    for (int i = 0; i < p->config.layers; i++) {
        struct block_shape shape = prior_block_shape(p, i, streams, T + 1);
        struct block_tensors w = prior_block(p, p->params.values, i);
        struct block_acts acts = s->prefix_acts;
        acts.qkv = s->layers[i].prefix;
        block_forward(p->k, &shape, &w, &acts, s->prefix_x, s->prefix_x);
    }
}

/* The last text state predicts the first code: s->x of every candidate. */
static void start_from_prefix(struct prior_sampler *s, int streams)
{
    const struct kernels *k = s->prior->k;
    size_t d = (size_t)prior_width(&s->prior->config), T = (size_t)s->prior->config.text_len;
    size_t stream = (size_t)s->batch * d;
    k->fill(s->x, 0, (size_t)streams * stream);
    for (size_t i = 0; i < (size_t)streams; i++)
        k->add_rows(tensor_at(s->x, i * stream), tensor_at(s->prefix_x, (i * (T + 1) + T) * d), s->batch, d);
}

/* s->x of the position s->place from its codes, through all layers. */
static void step(struct prior_sampler *s)
{
    const struct prior *p = s->prior;
    const struct prior_config *c = &p->config;
    const struct kernels *k = p->k;
    size_t d = (size_t)prior_width(c), stream = (size_t)s->batch * d, prefix = (size_t)(c->text_len + 1) * 3 * d;
    int streams = s->now_streams, rows = streams * s->batch;
    struct block_shape shape = prior_block_shape(p, 0, rows, 1);
    for (size_t i = 0; i < (size_t)streams; i++)
        k->embed(tensor_at(s->sum, i * stream), param_value(&p->params, p->tables[EMBED_IMAGE]), s->code, s->batch,
                 (int)d, false);
    for (size_t i = 0; i < 2; i++) {
        struct tensor vector = tensor_at(s->place_vectors, i * d);
        k->embed(vector, param_value(&p->params, p->tables[i ? EMBED_COL : EMBED_ROW]), tensor_at(s->place, 1 + i), 1,
                 (int)d, false);
        k->add_rows(s->sum, vector, rows, d);
    }
    if (k->compute != F32)
        k->cast(s->x, s->sum, 1, (size_t)rows * d);
    for (int i = 0; i < c->layers; i++) {
        struct block_tensors w = prior_block(p, p->params.values, i);
        const struct layer_cache *l = &s->layers[i];
        struct attention_shape attention = prior_block_shape(p, i, s->batch, 1).attention;
        block_forward_qkv(k, &shape, &w, &s->acts, s->x);
        for (size_t j = 0; j < (size_t)streams; j++)
            k->attention_step(tensor_at(s->acts.att, j * stream), tensor_at(s->acts.qkv, 3 * j * stream),
                              tensor_at(l->prefix, j * prefix), tensor_at(l->ring, j * l->ring_size), s->place,
                              &attention);
        block_forward_rest(k, &shape, &w, &s->acts, s->x, s->x);
    }
}

/* s->logits [batch, V] and s->drawn of the position that s->x predicts. */
static void predict(struct prior_sampler *s)
{
    const struct prior *p = s->prior;
    const struct kernels *k = p->k;
    int streams = s->now_streams, rows = streams * s->batch, d = prior_width(&p->config), V = p->config.image_vocab;
    size_t stream = (size_t)s->batch * (size_t)V;
    k->layernorm(s->y, s->acts.mean1, s->acts.rstd1, s->x, param_value(&p->params, p->ln_gain),
                 param_value(&p->params, p->ln_bias), rows, d);
    k->linear(s->logits, s->y, param_value(&p->params, p->image.weight), param_value(&p->params, p->image.bias), rows,
              d, V);
    if (streams == 2) {
        k->scale(s->logits, s->draw->guidance, stream);
        k->axpy(s->logits, 1 - s->draw->guidance, tensor_at(s->logits, stream), stream);
    }
    k->draw(s->drawn, s->logits, s->uniform, s->batch, V, &s->draw->draw);
}

static void step_and_predict(void *self)
{
    step(self);
    predict(self);
}

/* One position: its draws from the codes before it. */
static void sample_position(struct prior_sampler *s, int p, bool predicted, struct recording **recording)
{
    const struct kernels *k = s->prior->k;
    size_t batch = (size_t)s->batch;
    k->copy(s->uniform, tensor_at(s->uniforms, (size_t)p * batch), batch);
    if (p == 0) {
        start_from_prefix(s, s->now_streams);
        predict(s);
        return;
    }
    k->copy(s->code, tensor_at(s->ids, (size_t)(p - 1) * batch), batch);
    k->copy(s->place, tensor_at(s->places, (size_t)(p - 1) * 3), 3);
    if (predicted)
        k->replay(recording, step_and_predict, s);
    else
        step(s);
}

/* Candidates round .. round + batch - 1; s->ids [N, batch] on the device. */
static int sample_round(struct prior_sampler *s, uint64_t round, struct recording **recording, float *host_logits,
                        bool (*stop)(void))
{
    const struct kernels *k = s->prior->k;
    const struct prior_draw *d = s->draw;
    int positions = prior_positions(&s->prior->config);
    size_t batch = (size_t)s->batch, logits = batch * (size_t)s->prior->config.image_vocab;
    uint64_t key = random_key(d->seed, RANDOM_SAMPLE);
    for (size_t i = 0; i < (size_t)positions * batch; i++) {
        s->host_uniforms[i] = random_uniform(key, round + i % batch, i / batch);
        s->host_ids[i] = i / batch < (size_t)d->primed_count ? d->primed[i / batch] : 0;
    }
    k->upload(s->uniforms, s->host_uniforms, (size_t)positions * batch);
    k->upload(s->ids, s->host_ids, (size_t)positions * batch);
    for (int p = 0; p < positions; p++) {
        if (stop && stop())
            return err_set(ERR_AGAIN, "sampling was stopped at code %d of %d", p, positions);
        bool drawn = p >= d->primed_count;
        sample_position(s, p, drawn || host_logits, recording);
        if (host_logits)
            k->download(host_logits + (size_t)p * logits, s->logits, logits);
        if (drawn)
            k->copy(tensor_at(s->ids, (size_t)p * batch), s->drawn, batch);
    }
    k->download(s->host_ids, s->ids, (size_t)positions * batch);
    return 0;
}

static int check_tokens(const struct prior_config *c, const int32_t *text, const struct prior_draw *d)
{
    for (int i = 0; i < c->text_len; i++) {
        if (text[i] >= c->text_vocab)
            return err_set(ERR_DATA,
                           "token %d of the caption is %d, but the prior knows 0 to %d; is this its vocabulary?", i,
                           text[i], c->text_vocab - 1);
    }
    if (d->primed_count < 0 || d->primed_count > prior_positions(c))
        return err_set(ERR_DATA, "%d codes are given, but a picture has %d", d->primed_count, prior_positions(c));
    for (int i = 0; i < d->primed_count; i++) {
        if (d->primed[i] < 0 || d->primed[i] >= c->image_vocab)
            return err_set(ERR_DATA, "given code %d is %d, but the prior knows 0 to %d; is this its dVAE?", i,
                           d->primed[i], c->image_vocab - 1);
    }
    return 0;
}

int prior_sample(struct prior_sampler *s, const int32_t *text, int n, const struct prior_draw *d, int32_t *codes,
                 float *logits, bool (*stop)(void))
{
    const struct prior_config *c = &s->prior->config;
    size_t positions = (size_t)prior_positions(c), V = (size_t)c->image_vocab, batch = (size_t)s->batch;
    int streams = d->guidance == 1 ? 1 : 2;
    if (check_tokens(c, text, d) != 0 || reserve_streams(s, streams) != 0)
        return -1;
    s->now_streams = streams;
    s->draw = d;
    struct recording *recording = NULL;
    float *round_logits = logits ? xmalloc(positions * batch * V * sizeof *logits) : NULL;
    fill_prefix(s, text, streams);
    int status = 0;
    /* A candidate has its place in its round whichever are asked for: sums may differ between a batch's rows. */
    for (uint64_t round = d->first - d->first % batch; round < d->first + (uint64_t)n && status == 0; round += batch) {
        status = sample_round(s, round, &recording, round_logits, stop);
        for (size_t i = 0; i < positions * batch && status == 0; i++) {
            uint64_t candidate = round + i % batch;
            if (candidate < d->first || candidate >= d->first + (uint64_t)n)
                continue;
            size_t to = (size_t)(candidate - d->first) * positions + i / batch;
            codes[to] = s->host_ids[i];
            if (logits)
                memcpy(logits + to * V, round_logits + i * V, V * sizeof *logits);
        }
    }
    s->prior->k->replay_free(recording);
    free(round_logits);
    return status;
}
