/*
 * The CUDA table against the plain one: matrix products with what is fused into them, convolutions, pictures.
 */
#include "compare_cuda.h"
#include "tests/unit/kernels/operations_products.h"

/* s: rows, in, out */
static void linear_add(struct trial *t, const int *s)
{
    size_t n = (size_t)s[0] * s[2];
    struct tensor x = trial_in(t, (size_t)s[0] * s[1], -1, 1), w = trial_in(t, (size_t)s[1] * s[2], -1, 1);
    struct tensor bias = trial_in_f32(t, s[2], -1, 1), base = trial_in(t, n, -1, 1), y = trial_out(t, n);
    if (t->k->linear_add) {
        t->k->linear_add(y, base, x, w, bias, s[0], s[1], s[2]);
    } else {
        t->k->linear(y, x, w, bias, s[0], s[1], s[2]);
        t->k->axpy(y, 1, base, n);
    }
}

/* s: rows, in, out, activation, y in pre's place */
static void linear_act(struct trial *t, const int *s)
{
    enum activation kind = (enum activation)s[3];
    size_t n = (size_t)s[0] * s[2];
    struct tensor x = trial_in(t, (size_t)s[0] * s[1], -1, 1), w = trial_in(t, (size_t)s[1] * s[2], -1, 1);
    struct tensor bias = trial_in_f32(t, s[2], -1, 1), pre = trial_out(t, n), y = s[4] ? pre : trial_out(t, n);
    if (t->k->linear_act) {
        t->k->linear_act(kind, y, pre, x, w, bias, s[0], s[1], s[2]);
    } else {
        t->k->linear(pre, x, w, bias, s[0], s[1], s[2]);
        t->k->act(kind, y, pre, n);
    }
}

/* s: rows, in, out, activation */
static void linear_act_backward(struct trial *t, const int *s)
{
    enum activation kind = (enum activation)s[3];
    size_t in = (size_t)s[0] * s[1], out = (size_t)s[0] * s[2];
    struct tensor pre = trial_in(t, in, -2, 2), x = trial_in(t, in, -1, 1), dy = trial_in(t, out, -1, 1);
    struct tensor w = trial_in(t, (size_t)s[1] * s[2], -1, 1), dw = trial_change(t, (size_t)s[1] * s[2], -1, 1);
    struct tensor dbias = trial_change_f32(t, s[2], -1, 1), dpre_bias = trial_change_f32(t, s[1], -1, 1);
    struct tensor dpre = trial_out(t, in);
    if (t->k->linear_act_backward) {
        t->k->linear_act_backward(kind, dpre, dw, dbias, dpre_bias, dy, x, pre, w, s[0], s[1], s[2]);
        return;
    }
    t->k->linear_backward(dpre, dw, dbias, dy, x, w, s[0], s[1], s[2]);
    t->k->act_backward(kind, dpre, dpre, pre, in);
    t->k->add_rows_backward(dpre_bias, dpre, s[0], s[1]);
}

/* Factors and results of two types. s: rows, in, out, with dx and dbias */
static void linear_mixed(struct trial *t, const int *s)
{
    size_t in = (size_t)s[0] * s[1], out = (size_t)s[0] * s[2], weights = (size_t)s[1] * s[2];
    struct tensor x = trial_in_f32(t, in, -1, 1), w = trial_in(t, weights, -1, 1), bias = trial_in_f32(t, s[2], -1, 1);
    t->k->linear(trial_out(t, out), x, w, bias, s[0], s[1], s[2]);
    t->k->linear(trial_out_f32(t, out), x, w, bias, s[0], s[1], s[2]);
    t->k->matmul(trial_change(t, out, -1, 1), x, w, s[0], s[2], s[1], false, true, 0.5f, 2);
}

static void linear_backward_mixed(struct trial *t, const int *s)
{
    size_t in = (size_t)s[0] * s[1], out = (size_t)s[0] * s[2], weights = (size_t)s[1] * s[2];
    struct tensor x = trial_in(t, in, -1, 1), dy = trial_in(t, out, -1, 1), w = trial_in_f32(t, weights, -1, 1);
    struct tensor dx = trial_out(t, in), dw = trial_change(t, weights, -1, 1), dbias = trial_change_f32(t, s[2], -1, 1);
    t->k->linear_backward(dx, dw, dbias, dy, x, w, s[0], s[1], s[2]);
    t->k->linear_backward(tensor_none(), dw, tensor_none(), dy, x, w, s[0], s[1], s[2]);
}

/* Where cuBLASLt has no epilogues for the types at hand. */
static void without_epilogues(struct trial *t, const int *s)
{
    device_epilogues(false);
    linear(t, s);
    linear_backward(t, s);
    device_epilogues(true);
}

static void add_without_epilogues(struct trial *t, const int *s)
{
    device_epilogues(false);
    linear_add(t, s);
    device_epilogues(true);
}

static void act_without_epilogues(struct trial *t, const int *s)
{
    device_epilogues(false);
    linear_act_backward(t, s);
    device_epilogues(true);
}

#define ACT_SHAPES                                                                                                     \
    {                                                                                                                  \
        {1, 8, 8, ACT_GELU, 0}, {3, 17, 33, ACT_GELU, 0}, {7, 40, 24, ACT_GELU, 1}, {33, 64, 16, ACT_GELU, 0},         \
            {65, 16, 128, ACT_GELU, 0}, {5, 24, 48, ACT_QUICK_GELU, 0}, {5, 24, 40, ACT_QUICK_GELU, 1},                \
            {100, 32, 104, ACT_GELU, 1},                                                                               \
    }
#define MIXED_SHAPES                                                                                                   \
    {                                                                                                                  \
        {1, 1, 1, 1}, {3, 17, 33, 1}, {33, 64, 24, 1}, {130, 40, 9, 1},                                                \
    }

static const struct operation FUSED[] = {
    {"linear_add without epilogues", add_without_epilogues, 1e-6, 3, {{4, 8, 8}, {35, 24, 48}}},
    {"linear_add", linear_add, 1e-6, 2, {{1, 1, 1}, {3, 17, 33}, {33, 64, 24}, {130, 40, 9}, {65, 16, 128}}},
    {"linear_act", linear_act, 1e-6, 2, ACT_SHAPES},
    {"linear_act_backward", linear_act_backward, 2e-6, 4, ACT_SHAPES},
    {"linear_act_backward without epilogues",
     act_without_epilogues,
     2e-6,
     4,
     {{2, 8, 8, ACT_GELU}, {34, 24, 48, ACT_GELU}}},
    {"linear and linear_backward without epilogues", without_epilogues, 1e-6, 2, {{4, 8, 8, 1}, {35, 24, 48, 1}}},
    {"linear of two types", linear_mixed, 1e-6, 3, MIXED_SHAPES},
    {"linear_backward of two types", linear_backward_mixed, 1e-6, 3, MIXED_SHAPES},
};

int main(void)
{
    int failed = compare_cuda_all(PRODUCT_OPERATIONS, sizeof PRODUCT_OPERATIONS / sizeof *PRODUCT_OPERATIONS);
    return failed + compare_cuda_all(FUSED, sizeof FUSED / sizeof *FUSED);
}
