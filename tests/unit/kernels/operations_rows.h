/*
 * What the tables are compared on: elementwise operations, and those that treat rows alike.
 */
#ifndef ATELIER_TESTS_UNIT_KERNELS_OPERATIONS_ROWS_H
#define ATELIER_TESTS_UNIT_KERNELS_OPERATIONS_ROWS_H

#include "compare.h"

static size_t area(const int *s)
{
    return (size_t)s[0] * s[1];
}

/* s: n */
static void copy_and_fill(struct trial *t, const int *s)
{
    struct tensor x = trial_in(t, s[0], -1, 1), y = trial_out(t, s[0]), z = trial_out(t, s[0]);
    t->k->copy(y, x, s[0]);
    t->k->fill(z, 0.7f, s[0]);
}

/* s: pixels; all bytes, at an odd address. */
static void upload_pixels(struct trial *t, const int *s)
{
    const float factor[3] = {0.8f, 3.7f, -2}, offset[3] = {0.1f, -1.9f, 7};
    uint8_t *bytes = xmalloc(3 * (size_t)s[0] + 1);
    for (size_t i = 0; i <= 3 * (size_t)s[0]; i++)
        bytes[i] = (uint8_t)(i * 7);
    t->k->upload_pixels(trial_out_f32(t, 3 * (size_t)s[0]), bytes + 1, s[0], factor, offset);
    free(bytes);
}

static void axpy(struct trial *t, const int *s)
{
    struct tensor x = trial_in(t, s[0], -1, 1), y = trial_change(t, s[0], -1, 1);
    t->k->axpy(y, 0.3f, x, s[0]);
}

static void scale(struct trial *t, const int *s)
{
    t->k->scale(trial_change(t, s[0], -1, 1), -1.7f, s[0]);
}

/* The range reaches where GELU is flat on both sides. */
static void act(struct trial *t, const int *s)
{
    t->least = 1;
    for (enum activation kind = ACT_RELU; kind <= ACT_QUICK_GELU; kind++) {
        struct tensor x = trial_in(t, s[0], -12, 12), y = trial_out(t, s[0]), same = trial_change(t, s[0], -4, 4);
        t->k->act(kind, y, x, s[0]);
        t->k->act(kind, same, same, s[0]);
    }
}

static void act_backward(struct trial *t, const int *s)
{
    t->least = 1;
    struct tensor x = trial_in(t, s[0], -12, 12), dy = trial_in(t, s[0], -1, 1);
    for (enum activation kind = ACT_RELU; kind <= ACT_QUICK_GELU; kind++) {
        struct tensor dx = trial_out(t, s[0]), same = trial_change(t, s[0], -1, 1);
        t->k->act_backward(kind, dx, dy, x, s[0]);
        t->k->act_backward(kind, same, same, x, s[0]);
    }
}

/* Far outside, where exponentials overflow and underflow. */
static void act_far(struct trial *t, const int *s)
{
    t->least = 1;
    for (enum activation kind = ACT_RELU; kind <= ACT_QUICK_GELU; kind++) {
        struct tensor x = trial_in(t, s[0], -3000, 3000);
        t->k->act(kind, trial_out(t, s[0]), x, s[0]);
        t->k->act_backward(kind, trial_out(t, s[0]), x, x, s[0]);
    }
}

/* s: repeat, n */
static void add_rows(struct trial *t, const int *s)
{
    struct tensor x = trial_in(t, s[1], -1, 1), y = trial_change(t, area(s), -1, 1);
    t->k->add_rows(y, x, s[0], s[1]);
}

static void add_rows_backward(struct trial *t, const int *s)
{
    struct tensor dy = trial_in(t, area(s), -1, 1), dx = trial_change(t, s[1], -1, 1);
    t->k->add_rows_backward(dx, dy, s[0], s[1]);
}

/* s: rows, d */
static void layernorm(struct trial *t, const int *s)
{
    struct tensor x = trial_in(t, area(s), -1, 3), gain = trial_in_f32(t, s[1], 0.5, 2),
                  bias = trial_in_f32(t, s[1], -1, 1);
    struct tensor y = trial_out(t, area(s)), mean = trial_out_f32(t, s[0]), rstd = trial_out_f32(t, s[0]);
    t->k->layernorm(y, mean, rstd, x, gain, bias, s[0], s[1]);
}

static void layernorm_backward(struct trial *t, const int *s)
{
    struct tensor x = trial_in(t, area(s), -1, 3), dy = trial_in(t, area(s), -1, 1);
    struct tensor gain = trial_in_f32(t, s[1], 0.5, 2), mean = trial_in_f32(t, s[0], 0.9, 1.1),
                  rstd = trial_in_f32(t, s[0], 1, 2);
    struct tensor dx = trial_change(t, area(s), -1, 1), dgain = trial_change_f32(t, s[1], -1, 1);
    struct tensor dbias = trial_change_f32(t, s[1], -1, 1);
    t->k->layernorm_backward(dx, dgain, dbias, dy, x, mean, rstd, gain, s[0], s[1], 0.5f);
}

/* The first row's gradient is beyond the type: dx of that row stays, and dgain and dbias, which are not compared, tell.
 */
static void layernorm_backward_overflow(struct trial *t, const int *s)
{
    struct tensor x = trial_in(t, area(s), -1, 3), gain = trial_in_f32(t, s[1], 0.5, 2);
    float *values = trial_begin(t, area(s), F32, true), sums[2] = {0};
    trial_draw(t, values, area(s), -1, 1);
    values[s[1] - 1] = INFINITY;
    struct tensor dy = trial_place(t, true), mean = trial_in_f32(t, s[0], 0.9, 1.1), rstd = trial_in_f32(t, s[0], 1, 2);
    struct tensor dgain = t->k->alloc(s[1], F32), dbias = t->k->alloc(s[1], F32);
    t->k->fill(dgain, 0, s[1]);
    t->k->fill(dbias, 0, s[1]);
    t->k->layernorm_backward(trial_change(t, area(s), -1, 1), dgain, dbias, dy, x, mean, rstd, gain, s[0], s[1], 0.5f);
    t->k->download(&sums[0], tensor_at(dgain, s[1] - 1), 1);
    t->k->download(&sums[1], tensor_at(dbias, s[1] - 1), 1);
    assert_false(isfinite(sums[0]) || isfinite(sums[1]));
    t->k->free(dgain);
    t->k->free(dbias);
}

static void l2norm(struct trial *t, const int *s)
{
    struct tensor x = trial_in(t, area(s), -1, 1), y = trial_out(t, area(s)), norm = trial_out_f32(t, s[0]);
    t->k->l2norm(y, norm, x, s[0], s[1]);
}

static void l2norm_backward(struct trial *t, const int *s)
{
    struct tensor dy = trial_in(t, area(s), -1, 1), y = trial_in(t, area(s), -1, 1), norm = trial_in_f32(t, s[0], 1, 2);
    t->k->l2norm_backward(trial_out(t, area(s)), dy, y, norm, s[0], s[1]);
}

/* s: rows, d; a table of 5, ids from -2 */
static void embed(struct trial *t, const int *s)
{
    struct tensor table = trial_in(t, (size_t)5 * s[1], -1, 1), ids = trial_in_ids(t, s[0], -2, 5);
    t->k->embed(trial_out(t, area(s)), table, ids, s[0], s[1], false);
    t->k->embed(trial_change(t, area(s), -1, 1), table, ids, s[0], s[1], true);
}

static void embed_backward(struct trial *t, const int *s)
{
    struct tensor dy = trial_in(t, area(s), -1, 1), ids = trial_in_ids(t, s[0], -2, 5);
    t->k->embed_backward(trial_change(t, (size_t)5 * s[1], -1, 1), dy, ids, s[0], s[1]);
}

/* s: rows, classes */
static void softmax_xent(struct trial *t, const int *s)
{
    struct tensor logits = trial_in(t, area(s), -9, 9), targets = trial_in_ids(t, s[0], -1, s[1]);
    struct tensor same = trial_change(t, area(s), -9, 9);
    t->k->softmax_xent(trial_out_f32(t, s[0]), trial_out(t, area(s)), logits, targets, s[0], s[1], 0.3f);
    t->k->softmax_xent(trial_out_f32(t, s[0]), tensor_none(), logits, targets, s[0], s[1], 1);
    t->k->softmax_xent(trial_out_f32(t, s[0]), same, same, targets, s[0], s[1], 0.3f);
}

/* s: rows */
static void logit_laplace(struct trial *t, const int *s)
{
    struct tensor stats = trial_in(t, (size_t)6 * s[0], -2, 2), x = trial_in(t, (size_t)3 * s[0], 0.1, 0.9);
    t->k->logit_laplace(trial_out_f32(t, s[0]), trial_out(t, (size_t)6 * s[0]), stats, x, s[0], -INFINITY, 0.3f);
    t->k->logit_laplace(trial_out_f32(t, s[0]), trial_out(t, (size_t)6 * s[0]), stats, x, s[0], 0.5f, 0.3f);
    t->k->logit_laplace(trial_out_f32(t, s[0]), tensor_none(), stats, x, s[0], -INFINITY, 1);
}

static void kl_uniform(struct trial *t, const int *s)
{
    struct tensor logits = trial_in(t, area(s), -9, 9);
    t->k->kl_uniform(trial_out_f32(t, s[0]), trial_change(t, area(s), -1, 1), logits, s[0], s[1], 0.3f);
    t->k->kl_uniform(trial_out_f32(t, s[0]), tensor_none(), logits, s[0], s[1], 1);
}

static void code_use(struct trial *t, const int *s)
{
    t->k->code_use(trial_out_f32(t, s[1]), trial_in(t, area(s), -9, 9), s[0], s[1]);
}

static void code_use_backward(struct trial *t, const int *s)
{
    struct tensor use = trial_in_f32(t, s[1], 0.01, 1), logits = trial_in(t, area(s), -9, 9);
    t->k->code_use_backward(trial_change(t, area(s), -0.1, 0.1), use, logits, s[0], s[1], 0.3f);
}

static void gumbel(struct trial *t, const int *s)
{
    t->k->gumbel(trial_out_f32(t, s[0]), 0x123456789abcdefu, 77, s[0]);
}

static void gumbel_softmax(struct trial *t, const int *s)
{
    struct tensor logits = trial_in(t, area(s), -3, 3), noise = trial_in_f32(t, area(s), -1, 5);
    t->k->gumbel_softmax(trial_out(t, area(s)), logits, noise, 0.4f, s[0], s[1]);
}

static void gumbel_softmax_backward(struct trial *t, const int *s)
{
    struct tensor dz = trial_in(t, area(s), -1, 1), z = trial_in(t, area(s), 0, 0.2);
    t->k->gumbel_softmax_backward(trial_change(t, area(s), -1, 1), dz, z, 0.4f, s[0], s[1]);
}

/* Logits whose exponentials overflow and underflow. */
static void softmax_far(struct trial *t, const int *s)
{
    struct tensor logits = trial_in(t, area(s), -200, 200), targets = trial_in_ids(t, s[0], -1, s[1]);
    struct tensor noise = trial_in_f32(t, area(s), -1, 5);
    t->k->softmax_xent(trial_out_f32(t, s[0]), trial_out(t, area(s)), logits, targets, s[0], s[1], 1);
    t->k->kl_uniform(trial_out_f32(t, s[0]), trial_change(t, area(s), -1, 1), logits, s[0], s[1], 1);
    t->k->code_use(trial_out_f32(t, s[1]), logits, s[0], s[1]);
    t->k->gumbel_softmax(trial_out(t, area(s)), logits, noise, 0.1f, s[0], s[1]);
}

static void argmax(struct trial *t, const int *s)
{
    t->k->argmax(trial_out_ids(t, s[0]), trial_in_steps(t, area(s), -3, 3), s[0], s[1]);
}

static void draw(struct trial *t, const int *s)
{
    static const struct draw WAYS[] = {{1, 0, 1}, {0.7f, 3, 1}, {1.3f, 0, 0.8f}, {1, 20, 0.9f}, {0, 0, 1}};
    struct tensor logits = trial_in(t, area(s), -4, 4), uniforms = trial_in_f32(t, s[0], 0.001, 0.999);
    for (int i = 0; i < 5; i++)
        t->k->draw(trial_out_ids(t, s[0]), logits, uniforms, s[0], s[1], &WAYS[i]);
}

static void dot(struct trial *t, const int *s)
{
    struct tensor a = trial_in(t, s[0], -1, 2), b = trial_in(t, s[0], -1, 2);
    t->k->dot(trial_out_f32(t, 1), a, b, s[0]);
}

static void lerp(struct trial *t, const int *s)
{
    t->k->lerp(trial_change(t, s[0], -1, 1), trial_in(t, s[0], -1, 1), 0.99f, s[0], 0);
}

static void adamw(struct trial *t, const int *s)
{
    static const struct adamw FIRST = {1e-2f, 0.9f, 0.96f, 1e-8f, 0.1f, INFINITY, 1, 1, 0},
                              LATER = {1e-2f, 0.9f, 0.999f, 1e-8f, 0, 0.2f, 0.5f, 100, 0};
    struct tensor w = trial_change(t, s[0], -1, 1), m = trial_change_f32(t, s[0], -1, 1),
                  v = trial_change_f32(t, s[0], 0.1, 1);
    struct tensor g = trial_in(t, s[0], -1, 1);
    t->k->adamw(w, m, v, g, s[0], &FIRST);
    t->k->adamw(w, m, v, g, s[0], &LATER);
}

#define LENGTHS                                                                                                        \
    {                                                                                                                  \
        {1}, {3}, {7}, {15}, {16}, {17}, {33}, {64}, {100}, {1000}, {4097}, {70001},                                   \
    }
#define ROWS                                                                                                           \
    {                                                                                                                  \
        {1, 1}, {1, 3}, {3, 7}, {2, 17}, {7, 16}, {33, 33}, {5, 64}, {17, 100}, {3, 1023}, {130, 24}, {300, 5},        \
            {700, 100}, {80, 820},                                                                                     \
    }

static const struct operation ROW_OPERATIONS[] = {
    {"copy and fill", copy_and_fill, 0, 0, LENGTHS},
    {"upload_pixels", upload_pixels, 1e-6, 1, LENGTHS},
    {"axpy", axpy, 1e-6, 1, LENGTHS},
    {"scale", scale, 1e-6, 1, LENGTHS},
    {"act", act, 1e-6, 1, LENGTHS},
    {"act_backward", act_backward, 3e-6, 1, LENGTHS},
    {"act far from zero", act_far, 1e-6, 1, LENGTHS},
    {"add_rows", add_rows, 1e-6, 1, ROWS},
    {"add_rows_backward", add_rows_backward, 1e-6, 1, ROWS},
    {"layernorm", layernorm, 1e-5, 1, ROWS},
    {"layernorm_backward", layernorm_backward, 1e-5, 1, ROWS},
    {"layernorm_backward of an overflow", layernorm_backward_overflow, 1e-5, 1, ROWS},
    {"l2norm", l2norm, 1e-6, 1, ROWS},
    {"l2norm_backward", l2norm_backward, 1e-6, 1, ROWS},
    {"embed", embed, 0, 0, ROWS},
    {"embed_backward", embed_backward, 1e-6, 1, ROWS},
    {"softmax_xent", softmax_xent, 2e-6, 1, ROWS},
    {"logit_laplace", logit_laplace, 2e-6, 1, LENGTHS},
    {"kl_uniform", kl_uniform, 5e-6, 1, ROWS},
    {"code_use", code_use, 2e-6, 1, ROWS},
    {"code_use_backward", code_use_backward, 2e-6, 1, ROWS},
    {"gumbel", gumbel, 1e-6, 1, LENGTHS},
    {"gumbel_softmax", gumbel_softmax, 2e-6, 1, ROWS},
    {"gumbel_softmax_backward", gumbel_softmax_backward, 2e-6, 1, ROWS},
    {"softmax far from zero", softmax_far, 1e-5, 1, ROWS},
    {"argmax", argmax, 0, 0, ROWS},
    {"draw", draw, 0, 0, ROWS},
    {"dot", dot, 1e-6, 1, LENGTHS},
    {"lerp", lerp, 1e-6, 1, LENGTHS},
    {"adamw", adamw, 2e-6, 2, LENGTHS},
};

#endif
