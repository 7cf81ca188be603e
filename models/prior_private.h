/*
 * What the prior's own files share: its struct, the embeddings and the indices of its parameters.
 */
#ifndef ATELIER_MODELS_PRIOR_PRIVATE_H
#define ATELIER_MODELS_PRIOR_PRIVATE_H

#include "models/prior.h"
#include "models/transformer.h"

/* The tables whose rows sum up to an input state. */
enum { EMBED_START, EMBED_TEXT, EMBED_PAD, EMBED_TEXT_POS, EMBED_IMAGE, EMBED_ROW, EMBED_COL, EMBEDDINGS };

struct prior_head {
    int weight, bias; /* parameters */
    int classes;
    struct tensor y, dy;               /* [batch * positions, d], its normalised states and their gradient */
    struct tensor targets, loss;       /* [batch * positions] */
    struct tensor logits;              /* [chunk, classes] */
    int positions, first_state, chunk; /* of one sample; rows of logits computed together */
    float share;                       /* of the loss */
};

struct prior {
    const struct kernels *k;
    struct prior_config config;
    int batch;
    enum prior_use use;

    struct params params;
    int tables[EMBEDDINGS]; /* parameters, as the others here */
    int blocks;             /* the first layer's */
    int ln_gain, ln_bias;

    struct arena arena;
    struct tensor ids;            /* [EMBEDDINGS, batch * states] */
    struct tensor sum;            /* [batch * states, d], F32: of embeddings; dx where there is one */
    struct tensor *x;             /* [layers + 1] of [batch * states, d]: each layer's input, and the output */
    struct block_acts *acts;      /* [layers]; all the same but in training without recomputation */
    struct block_scratch scratch; /* for the backward pass, as dx */
    struct tensor dx;             /* [batch * states, d] */
    struct tensor mean, rstd;     /* [batch * states], of the last LayerNorm */
    struct prior_head text, image;
    int32_t *host_ids;  /* [EMBEDDINGS, batch * states]; targets too */
    float *host_losses; /* [batch * states] */
};

static inline int prior_width(const struct prior_config *c)
{
    return c->heads * c->head_dim;
}
static inline int prior_positions(const struct prior_config *c) /* image tokens */
{
    return c->grid * c->grid;
}
static inline int prior_states(const struct prior_config *c)
{
    return c->text_len + prior_positions(c);
}

struct block_shape prior_block_shape(const struct prior *p, int layer, int n, int states);
struct block_tensors prior_block(const struct prior *p, struct tensor slab, int layer);

/* Input states of n samples: the rows of each table that states 0 .. states-1 add up, -1 for none, to host_ids
 * [EMBEDDINGS, n * states]. `image` is not read when there are no more than T + 1 states. */
void prior_name_rows(const struct prior_config *c, const int32_t *text, const int32_t *image, int n, int states,
                     int32_t *host_ids);
/* x [rows, d] = the sums, which are made in `sum` [rows, d], F32, where x has another type; ids [EMBEDDINGS, rows] on
 * the device. */
void prior_embed(const struct prior *p, struct tensor x, struct tensor sum, struct tensor ids, int rows);

#endif
