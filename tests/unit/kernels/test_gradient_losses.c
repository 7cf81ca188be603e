/*
 * Finite-difference checks: losses and the relaxed draw. s: rows, classes.
 */
#include "gradient.h"

static void rows_sizes(struct gradient *g)
{
    g->x_count[0] = (size_t)g->s[0] * g->s[1];
    g->y_count = g->s[0];
}

static void softmax_xent(struct gradient *g)
{
    g->k->softmax_xent(g->y, tensor_none(), g->x[0], g->ids, g->s[0], g->s[1], 1);
}

static void softmax_xent_backward(struct gradient *g)
{
    g->k->softmax_xent(g->y, g->dx[0], g->x[0], g->ids, g->s[0], g->s[1], g->scale);
}

static void softmax_xent_in_place(struct gradient *g)
{
    g->k->copy(g->dx[0], g->x[0], g->x_count[0]);
    g->k->softmax_xent(g->y, g->dx[0], g->dx[0], g->ids, g->s[0], g->s[1], g->scale);
}

static void kl_uniform(struct gradient *g)
{
    g->k->kl_uniform(g->y, tensor_none(), g->x[0], g->s[0], g->s[1], 1);
}

static void kl_uniform_backward(struct gradient *g)
{
    g->k->kl_uniform(g->y, g->dx[0], g->x[0], g->s[0], g->s[1], g->scale);
}

/* s: rows. The pixels' logits are 0, so that no kink is near: a mean of
 * FILL_SPACED is at least 0.05 away from zero. */
static void logit_laplace_sizes(struct gradient *g)
{
    g->x_count[0] = (size_t)6 * g->s[0];
    g->y_count = (size_t)3 * g->s[0];
}

static void logit_laplace_call(struct gradient *g, struct tensor dstats, float scale)
{
    g->k->fill(g->y, 0, g->y_count);
    g->k->fill(g->saved[0], 0.5f, g->y_count);
    g->k->logit_laplace(g->y, dstats, g->x[0], g->saved[0], g->s[0], -INFINITY, scale);
}

static void logit_laplace(struct gradient *g)
{
    logit_laplace_call(g, tensor_none(), 1);
}

static void logit_laplace_backward(struct gradient *g)
{
    logit_laplace_call(g, g->dx[0], g->scale);
}

/* y = use ln use, so that its sum is the negated entropy. */
static void code_use_sizes(struct gradient *g)
{
    g->x_count[0] = (size_t)g->s[0] * g->s[1];
    g->y_count = g->s[1];
}

static void code_use(struct gradient *g)
{
    g->k->code_use(g->saved[0], g->x[0], g->s[0], g->s[1]);
    for (int i = 0; i < g->s[1]; i++) {
        float use = ((float *)g->saved[0].data)[i];
        ((float *)g->y.data)[i] = use * logf(use);
    }
}

static void code_use_backward(struct gradient *g)
{
    g->k->code_use_backward(g->dx[0], g->saved[0], g->x[0], g->s[0], g->s[1], g->scale);
}

static const float TAU = 0.7f;

static void gumbel_softmax_sizes(struct gradient *g)
{
    g->x_count[0] = g->y_count = (size_t)g->s[0] * g->s[1];
}

static void gumbel_softmax(struct gradient *g)
{
    g->k->gumbel(g->saved[0], 5, 6, g->y_count);
    g->k->gumbel_softmax(g->y, g->x[0], g->saved[0], TAU, g->s[0], g->s[1]);
}

static void gumbel_softmax_backward(struct gradient *g)
{
    g->k->gumbel_softmax_backward(g->dx[0], g->dy, g->y, TAU, g->s[0], g->s[1]);
}

static const struct differentiable LOSSES[] = {
    {"softmax_xent",
     rows_sizes,
     softmax_xent,
     softmax_xent_backward,
     FILL_WIDE,
     true,
     {false},
     2e-3,
     {{3, 4}, {7, 5}, {17, 33}}},
    {"softmax_xent in place",
     rows_sizes,
     softmax_xent,
     softmax_xent_in_place,
     FILL_WIDE,
     true,
     {false},
     2e-3,
     {{3, 4}, {7, 5}}},
    {"kl_uniform",
     rows_sizes,
     kl_uniform,
     kl_uniform_backward,
     FILL_WIDE,
     true,
     {true},
     2e-3,
     {{3, 3}, {7, 5}, {5, 33}}},
    {"logit_laplace",
     logit_laplace_sizes,
     logit_laplace,
     logit_laplace_backward,
     FILL_SPACED,
     true,
     {false},
     2e-3,
     {{1}, {3}, {7}}},
    {"code_use", code_use_sizes, code_use, code_use_backward, FILL_WIDE, true, {true}, 2e-3, {{3, 4}, {7, 5}, {5, 17}}},
    {"gumbel_softmax",
     gumbel_softmax_sizes,
     gumbel_softmax,
     gumbel_softmax_backward,
     FILL_WIDE,
     false,
     {true},
     2e-3,
     {{1, 2}, {3, 7}, {5, 17}}},
};

int main(void)
{
    return gradient_all(LOSSES, sizeof LOSSES / sizeof *LOSSES);
}
