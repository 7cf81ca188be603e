/*
 * The transformer prior (MODELS.md, 2; peers/reference.py gives the same in PyTorch): p(text, image codes), trained on
 * both, sampled from with the text given. Parameter names as in the golden vectors ("text_embed", "layer.0.qkv.weight",
 * ...).
 */
#ifndef ATELIER_MODELS_PRIOR_H
#define ATELIER_MODELS_PRIOR_H

#include "models/params.h"

struct prior_config {
    int layers, heads, head_dim;
    int text_vocab, text_len; /* W, T */
    int image_vocab, grid;    /* V, G */
    int kernel;               /* of the conv mask, odd */
};

struct prior;

/* What there is memory for. PRIOR_RECOMPUTE: training that keeps each layer's input alone and computes the rest of its
 * activations again in the backward pass: the same numbers, a third more time, 1/layers of the activations' memory. */
enum prior_use { PRIOR_INFER, PRIOR_TRAIN, PRIOR_RECOMPUTE };

/* `batch`: the most pairs a call. 0 or -1. */
int prior_new(struct prior **p, const struct kernels *k, const struct prior_config *c, int batch, enum prior_use use);
void prior_free(struct prior **p);
struct params *prior_params(struct prior *p);
const struct prior_config *prior_config(const struct prior *p);
size_t prior_logits(const struct prior *p); /* how many exist at one time */
/* The configuration comes from the file's metadata; every size is checked against its tensors before anything is
 * allocated. prior_open_weights: from a file that is loaded already, where tensors are called `prefix` + name. 0 or -1.
 */
int prior_open(struct prior **p, const struct kernels *k, const char *path, int batch);
int prior_open_weights(struct prior **p, const struct kernels *k, const struct weights *w, const char *prefix,
                       int batch, enum prior_use use);
/* Writes a slab laid out like the parameters (values or averages) with the configuration as metadata. 0 or -1. */
int prior_save(const struct prior *p, struct tensor slab, const char *path);

/* Layer i (from 0) has this mask; the last is conv. */
enum mask prior_mask(const struct prior_config *c, int layer);

struct prior_losses {
    float loss, text, image; /* loss = text / 8 + image * 7 / 8, means over all tokens, nats */
};
/* text [n, T] ids, -1 where the caption has ended; image [n, G*G] codes. Both on the host. train: gradients +=
 * grad_scale * gradient. eval: losses alone; text_logits [n, T, W + T] and image_logits [n, G*G, V] (host) receive the
 * logits where not NULL. */
void prior_train(struct prior *p, const int32_t *text, const int32_t *image, int n, float grad_scale,
                 struct prior_losses *out);
void prior_eval(struct prior *p, const int32_t *text, const int32_t *image, int n, struct prior_losses *out,
                float *text_logits, float *image_logits);

/* Sampling with caches (MODELS.md, 3): the text's states once, then one image position at a time for all candidates
 * together. */
struct prior_sampler;
struct prior_draw {
    struct draw draw;
    float guidance; /* classifier-free: logits = empty + guidance (text - empty); 1: none */
    uint64_t
        seed; /* candidate c at position p draws with random_uniform(random_key(seed, RANDOM_SAMPLE), first + c, p) */
    uint64_t first;        /* number of the first candidate, so that many calls draw what one would */
    const int32_t *primed; /* first codes of the picture, or NULL */
    int primed_count;
};
/* `batch`: candidates computed together; every call computes that many, so a candidate's codes do not depend on its
 * neighbours. The prior stays the caller's, and may be trained on between calls. 0 or -1. */
int prior_sampler_new(struct prior_sampler **s, struct prior *p, int batch);
void prior_sampler_free(struct prior_sampler **s);
/* n candidates (any number) of one caption, text [T] with -1 padding: codes [n, G*G] on the host. logits: NULL, or host
 * [n, G*G, V]. `stop` (may be NULL) is asked between positions; when true the call gives up and returns -1. */
int prior_sample(struct prior_sampler *s, const int32_t *text, int n, const struct prior_draw *d, int32_t *codes,
                 float *logits, bool (*stop)(void));

#endif
