/*
 * The transformer block, forward and backward.
 */
#include "models/transformer.h"

int block_add(struct params *p, const char *prefix, const char *const names[BLOCK_PARAMS], int width, int hidden,
              const struct block_init *init)
{
    const int64_t d = width, h = hidden;
    /* Rows and columns (0: a vector) in the order of struct block_tensors. */
    const struct {
        int64_t rows, cols;
        enum init init;
        float std;
    } table[BLOCK_PARAMS] = {
        {d, 0, INIT_ONE, 0},
        {d, 0, INIT_ZERO, 0},
        {3 * d, d, INIT_NORMAL, init->qkv},
        {3 * d, 0, INIT_ZERO, 0},
        {d, d, INIT_NORMAL, init->proj},
        {d, 0, INIT_ZERO, 0},
        {d, 0, INIT_ONE, 0},
        {d, 0, INIT_ZERO, 0},
        {h, d, INIT_NORMAL, init->fc1},
        {h, 0, INIT_ZERO, 0},
        {d, h, INIT_NORMAL, init->fc2},
        {d, 0, INIT_ZERO, 0},
    };
    int first = p->count;
    for (int i = 0; i < BLOCK_PARAMS; i++) {
        bool matrix = table[i].cols > 0;
        int added = params_add(p, matrix, table[i].init, table[i].std, matrix ? 2 : 1,
                               (const int64_t[]){table[i].rows, table[i].cols}, "%s%s", prefix, names[i]);
        p->list[added].compute = matrix;
        p->list[added].group = i % (BLOCK_PARAMS / 2) == 0 ? params_add_group(p) : p->groups - 1;
    }
    return first;
}

struct block_tensors block_tensors(const struct params *p, struct tensor slab, int first)
{
    return (struct block_tensors){
        .ln1_gain = param_in(p, slab, first),
        .ln1_bias = param_in(p, slab, first + 1),
        .qkv_weight = param_in(p, slab, first + 2),
        .qkv_bias = param_in(p, slab, first + 3),
        .proj_weight = param_in(p, slab, first + 4),
        .proj_bias = param_in(p, slab, first + 5),
        .ln2_gain = param_in(p, slab, first + 6),
        .ln2_bias = param_in(p, slab, first + 7),
        .fc1_weight = param_in(p, slab, first + 8),
        .fc1_bias = param_in(p, slab, first + 9),
        .fc2_weight = param_in(p, slab, first + 10),
        .fc2_bias = param_in(p, slab, first + 11),
    };
}

void block_layout_acts(struct block_acts *a, const struct block_shape *s, bool train, struct arena *arena)
{
    size_t rows = (size_t)s->rows, d = (size_t)s->width, h = (size_t)s->hidden;
    enum dtype states = arena->k->compute;
    a->ln1 = arena_take(arena, rows * d, states);
    a->mean1 = arena_take(arena, rows, F32);
    a->rstd1 = arena_take(arena, rows, F32);
    a->qkv = arena_take(arena, rows * 3 * d, states);
    a->lse = arena_take(arena, rows * (size_t)s->attention.heads, F32);
    a->att = arena_take(arena, rows * d, states);
    a->res = arena_take(arena, rows * d, states);
    a->ln2 = arena_take(arena, rows * d, states);
    a->mean2 = arena_take(arena, rows, F32);
    a->rstd2 = arena_take(arena, rows, F32);
    a->fc1 = arena_take(arena, rows * h, states);
    a->act = train ? arena_take(arena, rows * h, states) : a->fc1;
}

void block_layout_scratch(struct block_scratch *b, const struct block_shape *s, struct arena *arena)
{
    size_t rows = (size_t)s->rows, d = (size_t)s->width, h = (size_t)s->hidden;
    enum dtype states = arena->k->compute;
    b->hidden = arena_take(arena, rows * (h > 3 * d ? h : 3 * d), states);
    b->normed = arena_take(arena, rows * d, states);
    b->branch = states == F32 ? tensor_none() : arena_take(arena, rows * d, states);
}

void block_forward_qkv(const struct kernels *k, const struct block_shape *s, const struct block_tensors *w,
                       const struct block_acts *a, struct tensor x)
{
    k->layernorm(a->ln1, a->mean1, a->rstd1, x, w->ln1_gain, w->ln1_bias, s->rows, s->width);
    k->linear(a->qkv, a->ln1, w->qkv_weight, w->qkv_bias, s->rows, s->width, 3 * s->width);
}

/* y [rows, out] = base + x w^T + bias. */
static void add_branch(const struct kernels *k, struct tensor y, struct tensor base, struct tensor x, struct tensor w,
                       struct tensor bias, int rows, int in, int out)
{
    if (k->linear_add) {
        k->linear_add(y, base, x, w, bias, rows, in, out);
        return;
    }
    k->linear(y, x, w, bias, rows, in, out);
    k->axpy(y, 1, base, (size_t)rows * (size_t)out);
}

void block_forward_rest(const struct kernels *k, const struct block_shape *s, const struct block_tensors *w,
                        const struct block_acts *a, struct tensor y, struct tensor x)
{
    add_branch(k, a->res, x, a->att, w->proj_weight, w->proj_bias, s->rows, s->width, s->width);
    k->layernorm(a->ln2, a->mean2, a->rstd2, a->res, w->ln2_gain, w->ln2_bias, s->rows, s->width);
    if (k->linear_act) {
        k->linear_act(s->act, a->act, a->fc1, a->ln2, w->fc1_weight, w->fc1_bias, s->rows, s->width, s->hidden);
    } else {
        k->linear(a->fc1, a->ln2, w->fc1_weight, w->fc1_bias, s->rows, s->width, s->hidden);
        k->act(s->act, a->act, a->fc1, (size_t)s->rows * (size_t)s->hidden);
    }
    add_branch(k, y, a->res, a->act, w->fc2_weight, w->fc2_bias, s->rows, s->hidden, s->width);
}

void block_forward(const struct kernels *k, const struct block_shape *s, const struct block_tensors *w,
                   const struct block_acts *a, struct tensor y, struct tensor x)
{
    block_forward_qkv(k, s, w, a, x);
    k->attention(a->att, a->lse, a->qkv, &s->attention);
    block_forward_rest(k, s, w, a, y, x);
}

struct block_scales block_scales(const struct params *p, int first)
{
    return (struct block_scales){
        .attention = p->scales[p->list[first].group].scale,
        .mlp = p->scales[p->list[first + BLOCK_PARAMS / 2].group].scale,
    };
}

/* dx as it enters a branch. */
static struct tensor enter_branch(const struct kernels *k, const struct block_scratch *b, struct tensor dx, float scale,
                                  size_t count)
{
    if (k->compute == F32)
        return dx;
    k->cast(b->branch, dx, scale, count);
    return b->branch;
}

void block_backward(const struct kernels *k, const struct block_shape *s, const struct block_tensors *w,
                    const struct block_tensors *g, const struct block_acts *a, const struct block_scratch *b,
                    const struct block_scales *scales, struct tensor dx, struct tensor x)
{
    int rows = s->rows, d = s->width, h = s->hidden;
    size_t states = (size_t)rows * (size_t)d;
    struct tensor dy = enter_branch(k, b, dx, scales->mlp, states);
    if (k->linear_act_backward) {
        k->linear_act_backward(s->act, b->hidden, g->fc2_weight, g->fc2_bias, g->fc1_bias, dy, a->act, a->fc1,
                               w->fc2_weight, rows, h, d);
        k->linear_backward(b->normed, g->fc1_weight, tensor_none(), b->hidden, a->ln2, w->fc1_weight, rows, d, h);
    } else {
        k->linear_backward(b->hidden, g->fc2_weight, g->fc2_bias, dy, a->act, w->fc2_weight, rows, h, d);
        k->act_backward(s->act, b->hidden, b->hidden, a->fc1, (size_t)rows * (size_t)h);
        k->linear_backward(b->normed, g->fc1_weight, g->fc1_bias, b->hidden, a->ln2, w->fc1_weight, rows, d, h);
    }
    /* dx already is the gradient of `res` by way of the sum; this adds the way through the MLP. */
    k->layernorm_backward(dx, g->ln2_gain, g->ln2_bias, b->normed, a->res, a->mean2, a->rstd2, w->ln2_gain, rows, d,
                          1 / scales->mlp);

    dy = enter_branch(k, b, dx, scales->attention, states);
    k->linear_backward(b->normed, g->proj_weight, g->proj_bias, dy, a->att, w->proj_weight, rows, d, d);
    k->attention_backward(b->hidden, b->normed, a->qkv, a->att, a->lse, &s->attention);
    k->linear_backward(b->normed, g->qkv_weight, g->qkv_bias, b->hidden, a->ln1, w->qkv_weight, rows, d, 3 * d);
    k->layernorm_backward(dx, g->ln1_gain, g->ln1_bias, b->normed, x, a->mean1, a->rstd1, w->ln1_gain, rows, d,
                          1 / scales->attention);
}
