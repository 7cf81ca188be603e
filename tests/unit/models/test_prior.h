/*
 * What the prior's tests share: a small prior with random weights, and random pairs for it.
 */
#ifndef ATELIER_TESTS_TEST_PRIOR_H
#define ATELIER_TESTS_TEST_PRIOR_H

#include "models/prior.h"
#include "tests/unit/models/model_checks.h"

/* Every mask, and pictures that are larger than what rows and windows remember. */
static const struct prior_config small = {
    .layers = 5, .heads = 2, .head_dim = 4, .text_vocab = 7, .text_len = 3, .image_vocab = 6, .grid = 4, .kernel = 3};

struct pair {
    int32_t *text, *image;
};

static inline struct pair random_pairs(const struct prior_config *c, int n, uint64_t seed)
{
    size_t text = (size_t)n * (size_t)c->text_len, image = (size_t)n * (size_t)c->grid * (size_t)c->grid;
    struct pair p = {xmalloc(text * sizeof *p.text), xmalloc(image * sizeof *p.image)};
    for (size_t i = 0; i < text; i++) /* some padding, anywhere */
        p.text[i] = (int32_t)(random_philox(seed, 1, i).v[0] % (uint32_t)(c->text_vocab + 1)) - 1;
    for (size_t i = 0; i < image; i++)
        p.image[i] = (int32_t)(random_philox(seed, 2, i).v[0] % (uint32_t)c->image_vocab);
    return p;
}

static inline void free_pairs(struct pair *p)
{
    free(p->text);
    free(p->image);
}

/* Larger than initial weights, so that a wrong one shows. */
static inline struct prior *random_prior(const struct kernels *k, const struct prior_config *c, int batch,
                                         enum prior_use use)
{
    struct prior *p;
    assert_int_equal(prior_new(&p, k, c, batch, use), 0);
    struct params *params = prior_params(p);
    params_init(params, 1);
    for (int i = 0; i < params->count; i++) {
        if (params->list[i].init == INIT_NORMAL)
            k->scale(param_value(params, i), 0.3f / params->list[i].scale, params->list[i].count);
    }
    return p;
}

#endif
