/*
 * The pre-LayerNorm transformer block that the prior and both of CLIP's towers are made of:
 *   res = x + proj(attention(qkv(ln1(x)))),  y = res + fc2(act(fc1(ln2(res)))).
 * Weights, gradients, activations and scratch are the caller's; nothing is allocated here but by the layout functions.
 */
#ifndef ATELIER_MODELS_TRANSFORMER_H
#define ATELIER_MODELS_TRANSFORMER_H

#include "models/params.h"

/* One block's weights, or their gradients. Matrices are [out, in]; width d, hidden h (4 d as a rule). */
struct block_tensors {
    struct tensor ln1_gain, ln1_bias;     /* [d] */
    struct tensor qkv_weight, qkv_bias;   /* [3 d, d], [3 d] */
    struct tensor proj_weight, proj_bias; /* [d, d], [d] */
    struct tensor ln2_gain, ln2_bias;     /* [d] */
    struct tensor fc1_weight, fc1_bias;   /* [h, d], [h] */
    struct tensor fc2_weight, fc2_bias;   /* [d, h], [d] */
};

struct block_shape {
    int rows;  /* attention.batch * attention.states */
    int width; /* attention.heads * attention.head_dim */
    int hidden;
    enum activation act;
    struct attention_shape attention;
};

/* Standard deviations of the matrices' initial values; gains start at one, biases at zero. */
struct block_init {
    float qkv, proj, fc1, fc2;
};

/* A block's parameters are twelve neighbours in the table, in the order of struct block_tensors. `names` are their
 * names behind `prefix`, in that order. Matrices decay and are in the table's compute type; each branch's six
 * parameters are a group of gradients. Returns the first's index. */
#define BLOCK_PARAMS 12
int block_add(struct params *p, const char *prefix, const char *const names[BLOCK_PARAMS], int width, int hidden,
              const struct block_init *init);
/* The block's tensors in a slab that is laid out like the parameters (p->values, p->grads). */
struct block_tensors block_tensors(const struct params *p, struct tensor slab, int first);

/* What the forward pass leaves for the backward pass. For inference all blocks may share one. */
struct block_acts {
    struct tensor ln1, mean1, rstd1; /* [rows, d], [rows], [rows] */
    struct tensor qkv;               /* [rows, 3, heads, head_dim] */
    struct tensor lse;               /* [batch, heads, states] */
    struct tensor att;               /* [rows, d] */
    struct tensor res;               /* [rows, d], the state between attention and MLP */
    struct tensor ln2, mean2, rstd2; /* [rows, d], [rows], [rows] */
    struct tensor fc1, act;          /* [rows, h]; act may be fc1 when there is no backward pass */
};
/* What one block's backward pass works in; shared by all blocks. */
struct block_scratch {
    struct tensor hidden, normed; /* [rows, max(h, 3 d)], [rows, d] */
    struct tensor branch;         /* [rows, d], the gradient as it enters a branch; absent where that is dx itself */
};
/* What the gradients of the two branches are multiplied by on their way through (params.h, grad_scale). */
struct block_scales {
    float attention, mlp;
};

/* States are in the table's compute type. */
void block_layout_acts(struct block_acts *a, const struct block_shape *s, bool train, struct arena *arena);
void block_layout_scratch(struct block_scratch *b, const struct block_shape *s, struct arena *arena);

/* y [rows, d] = block(x [rows, d]). y may be x when there is no backward pass. */
void block_forward(const struct kernels *k, const struct block_shape *s, const struct block_tensors *w,
                   const struct block_acts *a, struct tensor y, struct tensor x);
/* The two parts around the attention, for a caller that attends by itself (cached sampling): a->qkv = qkv(ln1(x)), and
 * y from x and a->att. Only s->rows, width, hidden and act are used. y may be x. */
void block_forward_qkv(const struct kernels *k, const struct block_shape *s, const struct block_tensors *w,
                       const struct block_acts *a, struct tensor x);
void block_forward_rest(const struct kernels *k, const struct block_shape *s, const struct block_tensors *w,
                        const struct block_acts *a, struct tensor y, struct tensor x);

/* dx [rows, d], F32: in, the gradient of y; out, the gradient of x. x and `a` as the forward pass had and left them;
 * the weights' gradients `g`, times their branch's scale, are added to. */
void block_backward(const struct kernels *k, const struct block_shape *s, const struct block_tensors *w,
                    const struct block_tensors *g, const struct block_acts *a, const struct block_scratch *b,
                    const struct block_scales *scales, struct tensor dx, struct tensor x);
/* The scales of the block whose first parameter is `first`. */
struct block_scales block_scales(const struct params *p, int first);

#endif
