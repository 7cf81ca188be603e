/*
 * The prior's passes over whole sequences: states, losses and gradients.
 */
#include "models/prior.h"
#include "models/prior_private.h"

#include <assert.h>

void prior_name_rows(const struct prior_config *c, const int32_t *text, const int32_t *image, int n, int states,
                     int32_t *host_ids)
{
    size_t rows = (size_t)n * (size_t)states;
    int T = c->text_len, positions = prior_positions(c);
    for (size_t i = 0; i < EMBEDDINGS * rows; i++)
        host_ids[i] = -1;
    for (size_t row = 0; row < rows; row++) {
        size_t sample = row / (size_t)states;
        int state = (int)(row % (size_t)states);
        if (state == 0) {
            host_ids[EMBED_START * rows + row] = 0;
        } else if (state <= T) {
            int32_t token = text[sample * (size_t)T + (size_t)state - 1];
            assert(token < c->text_vocab);
            host_ids[(token < 0 ? EMBED_PAD : EMBED_TEXT) * rows + row] = token < 0 ? state - 1 : token;
            host_ids[EMBED_TEXT_POS * rows + row] = state - 1;
        } else {
            int position = state - T - 1;
            int32_t code = image[sample * (size_t)positions + (size_t)position];
            assert(code >= 0 && code < c->image_vocab);
            host_ids[EMBED_IMAGE * rows + row] = code;
            host_ids[EMBED_ROW * rows + row] = position / c->grid;
            host_ids[EMBED_COL * rows + row] = position % c->grid;
        }
    }
}

void prior_embed(const struct prior *p, struct tensor x, struct tensor sum, struct tensor ids, int rows)
{
    int d = prior_width(&p->config);
    struct tensor to = x.dtype == F32 ? x : sum;
    for (int e = 0; e < EMBEDDINGS; e++)
        p->k->embed(to, param_value(&p->params, p->tables[e]), tensor_at(ids, (size_t)e * (size_t)rows), rows, d,
                    e > 0);
    if (x.dtype != F32)
        p->k->cast(x, sum, 1, (size_t)rows * (size_t)d);
}

/* All states of n samples, to p->x[layers]. */
static void forward(struct prior *p, const int32_t *text, const int32_t *image, int n)
{
    int states = prior_states(&p->config), rows = n * states;
    prior_name_rows(&p->config, text, image, n, states, p->host_ids);
    p->k->upload(p->ids, p->host_ids, (size_t)EMBEDDINGS * (size_t)rows);
    prior_embed(p, p->x[0], p->sum, p->ids, rows);
    for (int i = 0; i < p->config.layers; i++) {
        struct block_shape shape = prior_block_shape(p, i, n, states);
        struct block_tensors w = prior_block(p, p->params.values, i);
        block_forward(p->k, &shape, &w, &p->acts[i], p->x[i + 1], p->x[i]);
    }
}

/* The head's states of each sample lie apart in x; the last LayerNorm brings them together in h->y. */
static void gather_states(struct prior *p, const struct prior_head *h, int n)
{
    size_t d = (size_t)prior_width(&p->config);
    for (int i = 0; i < n; i++) {
        size_t from = (size_t)i * (size_t)prior_states(&p->config) + (size_t)h->first_state;
        size_t to = (size_t)i * (size_t)h->positions;
        p->k->layernorm(tensor_at(h->y, to * d), tensor_at(p->mean, from), tensor_at(p->rstd, from),
                        tensor_at(p->x[p->config.layers], from * d), param_value(&p->params, p->ln_gain),
                        param_value(&p->params, p->ln_bias), h->positions, (int)d);
    }
}

static void scatter_gradient(struct prior *p, const struct prior_head *h, int n)
{
    size_t d = (size_t)prior_width(&p->config);
    for (int i = 0; i < n; i++) {
        size_t to = (size_t)i * (size_t)prior_states(&p->config) + (size_t)h->first_state;
        size_t from = (size_t)i * (size_t)h->positions;
        p->k->layernorm_backward(tensor_at(p->dx, to * d), param_grad(&p->params, p->ln_gain),
                                 param_grad(&p->params, p->ln_bias), tensor_at(h->dy, from * d),
                                 tensor_at(p->x[p->config.layers], to * d), tensor_at(p->mean, to),
                                 tensor_at(p->rstd, to), param_value(&p->params, p->ln_gain), h->positions, (int)d, 1);
    }
}

/* The head's mean loss over n samples with the targets in p->host_ids. Train: h->dy and the head's gradients too, times
 * grad_scale and the head's share. The logits go to host_logits where not NULL. */
static float head_loss(struct prior *p, const struct prior_head *h, int n, bool train, float grad_scale,
                       float *host_logits)
{
    const struct kernels *k = p->k;
    const struct params *params = &p->params;
    int rows = n * h->positions, d = prior_width(&p->config);
    float scale = grad_scale * h->share / (float)rows;
    gather_states(p, h, n);
    k->upload(h->targets, p->host_ids, (size_t)rows);
    for (int at = 0; at < rows; at += h->chunk) {
        int count = rows - at < h->chunk ? rows - at : h->chunk;
        struct tensor y = tensor_at(h->y, (size_t)at * (size_t)d), w = param_value(params, h->weight);
        k->linear(h->logits, y, w, param_value(params, h->bias), count, d, h->classes);
        if (host_logits)
            k->download(host_logits + (size_t)at * (size_t)h->classes, h->logits, (size_t)count * (size_t)h->classes);
        k->softmax_xent(tensor_at(h->loss, (size_t)at), train ? h->logits : tensor_none(), h->logits,
                        tensor_at(h->targets, (size_t)at), count, h->classes, scale);
        if (train)
            k->linear_backward(tensor_at(h->dy, (size_t)at * (size_t)d), param_grad(params, h->weight),
                               param_grad(params, h->bias), h->logits, y, w, count, d, h->classes);
    }
    k->download(p->host_losses, h->loss, (size_t)rows);
    double sum = 0;
    for (int i = 0; i < rows; i++)
        sum += p->host_losses[i];
    return (float)(sum / rows);
}

static void losses(struct prior *p, const int32_t *text, const int32_t *image, int n, bool train, float grad_scale,
                   struct prior_losses *out, float *text_logits, float *image_logits)
{
    const struct prior_config *c = &p->config;
    assert(n >= 1 && n <= p->batch);
    forward(p, text, image, n);
    for (int i = 0; i < n * c->text_len; i++)
        p->host_ids[i] = text[i] < 0 ? c->text_vocab + i % c->text_len : text[i];
    out->text = head_loss(p, &p->text, n, train, grad_scale, text_logits);
    for (int i = 0; i < n * prior_positions(c); i++)
        p->host_ids[i] = image[i];
    out->image = head_loss(p, &p->image, n, train, grad_scale, image_logits);
    out->loss = p->text.share * out->text + p->image.share * out->image;
}

void prior_eval(struct prior *p, const int32_t *text, const int32_t *image, int n, struct prior_losses *out,
                float *text_logits, float *image_logits)
{
    losses(p, text, image, n, false, 0, out, text_logits, image_logits);
}

void prior_train(struct prior *p, const int32_t *text, const int32_t *image, int n, float grad_scale,
                 struct prior_losses *out)
{
    assert(p->use != PRIOR_INFER);
    losses(p, text, image, n, true, grad_scale, out, NULL, NULL);
    int states = prior_states(&p->config), rows = n * states, d = prior_width(&p->config);
    p->k->fill(p->dx, 0, (size_t)rows * (size_t)d);
    scatter_gradient(p, &p->text, n);
    scatter_gradient(p, &p->image, n);
    for (int i = p->config.layers - 1; i >= 0; i--) {
        struct block_shape shape = prior_block_shape(p, i, n, states);
        struct block_tensors w = prior_block(p, p->params.values, i), g = prior_block(p, p->params.grads, i);
        struct block_scales scales = block_scales(&p->params, p->blocks + i * BLOCK_PARAMS);
        if (p->use == PRIOR_RECOMPUTE && i < p->config.layers - 1)
            block_forward(p->k, &shape, &w, &p->acts[i], p->x[i + 1], p->x[i]);
        block_backward(p->k, &shape, &w, &g, &p->acts[i], &p->scratch, &scales, p->dx, p->x[i]);
    }
    for (int e = 0; e < EMBEDDINGS; e++)
        p->k->embed_backward(param_grad(&p->params, p->tables[e]), p->dx, tensor_at(p->ids, (size_t)e * (size_t)rows),
                             rows, d);
}
