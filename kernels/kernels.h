/*
 * The table of tensor operations. Models call nothing else, so they run on whatever fills the table: kernels_plain() is
 * the readable reference, kernels_cpu() the fast one for this machine (AVX2 or AVX-512, chosen at run time), checked
 * against it.
 *
 * Conventions. A tensor is a pointer to device memory and a type; sizes are arguments. Models never dereference one:
 * they offset it with tensor_at and move data with upload and download. Ids are I32. Matrices, their gradients and
 * states (x, y, dx, dy, qkv and their like) have the table's `compute` type or F32, each as its caller likes, but
 * attention takes one type alone, and a convolution's x, dx, w and dw have one type; everything else (gains, biases and
 * their gradients, mean, rstd, lse, logits' losses, draws) is F32. Sums are in F32 or wider whatever the types. The CPU
 * computes in F32 alone. Shapes are row-major, [outer, ..., inner]; pictures are NHWC; `rows` counts the outer elements
 * that an operation treats alike.
 * "=" overwrites an output, "+=" adds to it; outputs may not overlap inputs unless "in place" is said.
 * Results never depend on the number of threads: sums are split at places fixed by the shapes alone.
 * Arguments are our own, so wrong ones are bugs (assert); alloc alone can fail. Not thread-safe: one caller at a time.
 */
#ifndef ATELIER_KERNELS_KERNELS_H
#define ATELIER_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* M16 and V16 hold AdamW's running mean and variance in 16 bits: sign, exponent and significand of 1-6-9 and 0-6-10
 * bits (MODELS.md, 2), exponent bias 60 (so up to 8, down to 2^-59, then subnormal), saturating, no infinities. All
 * bits zero is zero in every type. */
enum dtype { F32, I32, BF16, F16, M16, V16 };

static inline size_t dtype_size(enum dtype t)
{
    return t == F32 || t == I32 ? 4 : 2;
}

struct tensor {
    void *data; /* NULL: absent, where an operation allows it */
    enum dtype dtype;
};

/* The tensor that starts `n` elements further. */
static inline struct tensor tensor_at(struct tensor t, size_t n)
{
    return (struct tensor){(char *)t.data + n * dtype_size(t.dtype), t.dtype};
}
static inline struct tensor tensor_none(void)
{
    return (struct tensor){NULL, F32};
}

enum activation { ACT_RELU, ACT_GELU /* tanh form */, ACT_QUICK_GELU /* x * sigmoid(1.702 x) */ };

/* What a state may see of the states before it (MODELS.md, 2). The first `prefix` states are causal and seen by all
 * image states; state prefix + p is image position p of a grid x grid raster. */
enum mask {
    MASK_NONE,   /* every state sees every state; prefix and grid unused */
    MASK_CAUSAL, /* every state sees itself and all before it; prefix and grid unused */
    MASK_ROW,    /* p - grid .. p */
    MASK_COLUMN, /* p, p - grid, p - 2 grid ... */
    MASK_CONV,   /* p - dr * grid + dc, dr 0 .. kernel/2, dc -kernel/2 .. kernel/2, in 0 .. p */
};

struct attention_shape {
    enum mask mask;
    int batch, states, heads, head_dim;
    int prefix, grid, kernel; /* states <= prefix + grid * grid */
};

/* Image states of the past that attention_step needs: its cache's slots. */
static inline int attention_window(enum mask mask, int grid, int kernel)
{
    return mask == MASK_ROW ? grid + 1 : mask == MASK_CONV ? kernel / 2 * grid + kernel / 2 + 1 : grid * grid;
}

struct conv_shape {
    int batch, height, width, in, out;
    int kernel; /* odd; stride 1, zero padding that keeps the size */
};

/* What a convolution of inference does to its input and its result r, in one pass. */
struct conv_fusion {
    bool relu_in;  /* the input counts as max(x, 0) */
    bool relu_out; /* what is written is max(.., 0) */
    float gain;    /* 0: y = r; else y = y + gain * r */
};

struct adamw {
    float lr, beta1, beta2, eps, decay; /* decay is decoupled: w -= lr * decay * w first */
    float v_max;                        /* running variance is clipped to it before use; INFINITY: never */
    float grad_scale;                   /* gradients are multiplied by it first (clipping by global norm) */
    int step;                           /* from 1, for bias correction */
    uint64_t key;                       /* of the roundings' draws; a new one for each step and parameter */
};

struct draw {
    float temperature; /* 0: the largest logit (the first of equals) */
    int top_k;         /* 0: all */
    float top_p;       /* 1: all */
};

struct recording; /* what a device replays */

struct kernels {
    const char *name;   /* "plain", "avx2", "avx512", "cuda" */
    enum dtype compute; /* of matrices, their gradients and states: F32, BF16 or F16 */
    bool batches;       /* one large call is faster than many small ones */

    /* Memory. alloc gives 64-byte aligned memory of `count` elements, undefined; NULL with err_set when there is none.
     * The host's values are float, or int32_t for I32: upload and download convert to and from the tensor's type. copy
     * is between tensors of one type. cast: y = a x in y's type. fill takes any type
     * but M16 and V16, which take 0 alone. */
    struct tensor (*alloc)(size_t count, enum dtype dtype);
    void (*free)(struct tensor t);
    void (*upload)(struct tensor to, const void *from, size_t count);
    void (*download)(void *to, struct tensor from, size_t count);
    /* Colours, which cross to a device as bytes: to [pixels, 3] F32 = scale[c] * (from[., c] / 255) + offset[c]. As
     * after upload, `from` is free. */
    void (*upload_pixels)(struct tensor to, const uint8_t *from, size_t pixels, const float scale[3],
                          const float offset[3]);
    void (*copy)(struct tensor to, struct tensor from, size_t count);
    void (*cast)(struct tensor y, struct tensor x, float a, size_t count);
    void (*fill)(struct tensor x, float value, size_t count);

    size_t (*free_bytes)(void); /* that alloc may still give; SIZE_MAX: not known */

    /* Calls body(self). A device that can record does so when *recording is NULL, after a first run, and replays that
     * from then on: body must issue the same operations on the same tensors each time, neither upload nor download, and
     * come to the same when it runs twice. replay_free(NULL) is allowed. */
    void (*replay)(struct recording **recording, void (*body)(void *self), void *self);
    void (*replay_free)(struct recording *recording);

    /* Elementwise. y, x, dy: [n]. */
    void (*axpy)(struct tensor y, float a, struct tensor x, size_t n);             /* y += a x */
    void (*scale)(struct tensor y, float a, size_t n);                             /* y *= a */
    void (*act)(enum activation kind, struct tensor y, struct tensor x, size_t n); /* y =, in place allowed */
    void (*act_backward)(enum activation kind, struct tensor dx, struct tensor dy, struct tensor x,
                         size_t n);                                           /* dx = dy act'(x); dx may be dy */
    void (*add_rows)(struct tensor y, struct tensor x, int repeat, size_t n); /* y [repeat, n] += x [n] */
    void (*add_rows_backward)(struct tensor dx, struct tensor dy, int repeat,
                              size_t n); /* dx [n] += sum over repeat of dy */

    /* Products. c [m, n] = alpha op(a) op(b) + beta c; op(a) is [m, k]: a is [m, k], or [k, m] with ta; likewise b [k,
     * n] / [n, k]. */
    void (*matmul)(struct tensor c, struct tensor a, struct tensor b, int m, int n, int k, bool ta, bool tb,
                   float alpha, float beta);
    /* y [rows, out] = x [rows, in] w^T + bias; w [out, in]; bias [out] or absent. */
    void (*linear)(struct tensor y, struct tensor x, struct tensor w, struct tensor bias, int rows, int in, int out);
    /* dx = dy w (absent: skipped); dw += dy^T x; dbias += column sums of dy (absent: skipped). */
    void (*linear_backward)(struct tensor dx, struct tensor dw, struct tensor dbias, struct tensor dy, struct tensor x,
                            struct tensor w, int rows, int in, int out);
    /* y = base + x w^T + bias in one pass; y is not base. NULL where a table has no such pass. */
    void (*linear_add)(struct tensor y, struct tensor base, struct tensor x, struct tensor w, struct tensor bias,
                       int rows, int in, int out);
    /* linear and act in one pass, and linear_backward and act_backward; NULL where a table has no such pass. pre = x
     * w^T + bias and y = act(pre), which may be pre. Backward, of a layer whose x is act(pre): dpre = (dy w) act'(pre);
     * dw and dbias as in linear_backward; dpre_bias += column sums of dpre. */
    void (*linear_act)(enum activation kind, struct tensor y, struct tensor pre, struct tensor x, struct tensor w,
                       struct tensor bias, int rows, int in, int out);
    void (*linear_act_backward)(enum activation kind, struct tensor dpre, struct tensor dw, struct tensor dbias,
                                struct tensor dpre_bias, struct tensor dy, struct tensor x, struct tensor pre,
                                struct tensor w, int rows, int in, int out);
    /* y [batch, h, w, out] = conv(x [batch, h, w, in], w [out, in, kernel, kernel]) + bias. */
    void (*conv)(struct tensor y, struct tensor x, struct tensor w, struct tensor bias, const struct conv_shape *s);
    void (*conv_backward)(struct tensor dx, struct tensor dw, struct tensor dbias, struct tensor dy, struct tensor x,
                          struct tensor w, const struct conv_shape *s);

    /* Convolution for inference, with weights that are rearranged once: `packed` holds conv_packed_size(s) elements in
     * an order that only this table knows, made by conv_pack from w [out, in, kernel, kernel]. s->batch may differ from
     * call to call. Where channels are many, 3x3 convolutions take a quarter of the multiplications (Winograd's
     * method), at about ten times the rounding error; so do conv and its dx where pictures are large, too. */
    size_t (*conv_packed_size)(const struct conv_shape *s);
    void (*conv_pack)(struct tensor packed, struct tensor w, const struct conv_shape *s);
    void (*conv_infer)(struct tensor y, struct tensor x, struct tensor packed, struct tensor bias,
                       const struct conv_shape *s, const struct conv_fusion *f);
    /* ids [batch, h, w] = the first largest of each pixel's results of a 1x1 convolution, which are not stored; -1
     * where that is not finite. */
    void (*conv_argmax)(struct tensor ids, struct tensor x, struct tensor packed, struct tensor bias,
                        const struct conv_shape *s);

    /* Pictures, NHWC. patches: y [batch, (h/p)(w/p), c p p] = x [batch, h, w, c], a patch's elements ordered (c, row,
     * column) as in a [out, c, p, p] kernel. maxpool halves h and w (both even); its gradient goes to the first largest
     * of the four in raster order. */
    void (*patches)(struct tensor y, struct tensor x, int batch, int h, int w, int c, int p);
    void (*maxpool)(struct tensor y, struct tensor x, int batch, int h, int w, int c);
    void (*maxpool_backward)(struct tensor dx, struct tensor dy, struct tensor x, int batch, int h, int w,
                             int c); /* dx = */
    void (*upsample)(struct tensor y, struct tensor x, int batch, int h, int w,
                     int c); /* y [batch, 2h, 2w, c], nearest */
    void (*upsample_backward)(struct tensor dx, struct tensor dy, int batch, int h, int w,
                              int c); /* dx [batch, h, w, c] = */

    /* Normalisation over the last axis, eps 1e-5. mean, rstd: [rows], kept for the backward pass. */
    void (*layernorm)(struct tensor y, struct tensor mean, struct tensor rstd, struct tensor x, struct tensor gain,
                      struct tensor bias, int rows, int d);
    /* dx += scale times its gradient, but for rows where that is not finite; dgain += ; dbias += . */
    void (*layernorm_backward)(struct tensor dx, struct tensor dgain, struct tensor dbias, struct tensor dy,
                               struct tensor x, struct tensor mean, struct tensor rstd, struct tensor gain, int rows,
                               int d, float scale);
    /* y [rows, d] = x / |x|; norm [rows] kept. dx = . */
    void (*l2norm)(struct tensor y, struct tensor norm, struct tensor x, int rows, int d);
    void (*l2norm_backward)(struct tensor dx, struct tensor dy, struct tensor y, struct tensor norm, int rows, int d);

    /* Gathering. y [rows, d] = or += table[ids[row]]; a negative id gives zeros (=) or nothing (+=).
     * embed_backward: dtable[ids[row]] += dy[row], summed in the order of rows. */
    void (*embed)(struct tensor y, struct tensor table, struct tensor ids, int rows, int d, bool accumulate);
    void (*embed_backward)(struct tensor dtable, struct tensor dy, struct tensor ids, int rows, int d);

    /* Attention. qkv [batch, states, 3, heads, head_dim]; out [batch, states, heads, head_dim] =; lse [batch, heads,
     * states] (log of the softmax's denominator, scores scaled by 1/sqrt(head_dim)) kept. Scores that the mask empties
     * are not computed beyond a tile of one grid row or column. What a state does not see never reaches its out and
     * lse, even where it is not finite; in 16 bits that holds of lse alone (zero times it is added within a tile), and
     * of gradients it is not promised. dqkv = . */
    void (*attention)(struct tensor out, struct tensor lse, struct tensor qkv, const struct attention_shape *s);
    void (*attention_backward)(struct tensor dqkv, struct tensor dout, struct tensor qkv, struct tensor out,
                               struct tensor lse, const struct attention_shape *s);
    /* One image position p, `position` [1], for s->batch candidates that share their prefix. qkv [batch, 3, heads,
     * head_dim] of position p; prefix_qkv [prefix, 3, heads, head_dim]; cache [batch, attention_window, 2, heads,
     * head_dim], a ring that this call writes position p's key and value to (slot p mod window). out [batch, heads,
     * head_dim] = . s->states is not used. */
    void (*attention_step)(struct tensor out, struct tensor qkv, struct tensor prefix_qkv, struct tensor cache,
                           struct tensor position, const struct attention_shape *s);

    /* Losses. softmax_xent: loss [rows] = -ln softmax(logits)[target]; dlogits [rows, classes] = scale (softmax -
     * onehot), absent: skipped, may be logits (in place). A negative target gives 0 and zeros. */
    void (*softmax_xent)(struct tensor loss, struct tensor dlogits, struct tensor logits, struct tensor targets,
                         int rows, int classes, float scale);
    /* Logit-Laplace (MODELS.md, 1): stats [rows, 6] = (mu, ln b), x [rows, 3] in (0, 1): loss [rows] = sum of the three
     * -ln f; dstats = scale * gradient (absent: skipped). ln b below `floor` counts as `floor`, and its gradient only
     * ever raises it; -INFINITY: no floor. */
    void (*logit_laplace)(struct tensor loss, struct tensor dstats, struct tensor stats, struct tensor x, int rows,
                          float floor, float scale);
    /* KL(softmax(logits) || uniform): kl [rows] =; dlogits += scale * gradient (absent: skipped). */
    void (*kl_uniform)(struct tensor kl, struct tensor dlogits, struct tensor logits, int rows, int classes,
                       float scale);
    /* Mean use of each class: use [classes] = mean over rows of softmax(logits). Backward: dlogits += scale * gradient
     * of sum(use ln use), the negated entropy. */
    void (*code_use)(struct tensor use, struct tensor logits, int rows, int classes);
    void (*code_use_backward)(struct tensor dlogits, struct tensor use, struct tensor logits, int rows, int classes,
                              float scale);

    /* Relaxed draw: z [rows, classes] = softmax((logits + noise) / tau). Backward: dlogits += . gumbel: noise [n] =
     * standard Gumbel draws, element i from random_philox(key, hi, i / 4). */
    void (*gumbel)(struct tensor noise, uint64_t key, uint64_t hi, size_t n);
    void (*gumbel_softmax)(struct tensor z, struct tensor logits, struct tensor noise, float tau, int rows,
                           int classes);
    void (*gumbel_softmax_backward)(struct tensor dlogits, struct tensor dz, struct tensor z, float tau, int rows,
                                    int classes);
    void (*argmax)(struct tensor ids, struct tensor x, int rows, int classes); /* the first of equals */
    /* ids [rows] = draws from softmax(logits / temperature) cut by top_k, then top_p, by inversion in the order of
     * classes with uniforms [rows] in (0, 1). */
    void (*draw)(struct tensor ids, struct tensor logits, struct tensor uniforms, int rows, int classes,
                 const struct draw *d);

    /* Optimizer. All [n]. dot: out [1] = sum a b, in double, in fixed blocks. lerp: y += (1 - keep) (x - y). adamw: m
     * and v are F32, or M16 and V16. A y or w that is not F32 is rounded stochastically: element i by word i % 4 of
     * random_philox(key, 0, i / 4), so that the mean of many small changes is not lost. */
    void (*dot)(struct tensor out, struct tensor a, struct tensor b, size_t n);
    void (*lerp)(struct tensor y, struct tensor x, float keep, size_t n, uint64_t key);
    void (*adamw)(struct tensor w, struct tensor m, struct tensor v, struct tensor g, size_t n, const struct adamw *h);
};

const struct kernels *kernels_plain(void);

/* The fastest table that this CPU runs. The environment variable ATELIER_CPU=plain|avx2|avx512 asks for one; unknown or
 * unsupported: NULL with err_set. */
const struct kernels *kernels_cpu(void);

/* The table of a device: "cpu", "cuda" (the first), "cuda:N", or "auto", which is cuda where it answers and cpu
 * elsewhere. `compute`: what a GPU computes in; the CPU always in F32. NULL with err_set, which says what is missing.
 */
const struct kernels *kernels_open(const char *device, enum dtype compute);
/* The same in one of several processes of a host that each take a GPU of their own: "cuda" and "auto" mean that of the
 * process's place among them, counted round. */
const struct kernels *kernels_open_own(const char *device, int place, enum dtype compute);

/* Threads that the CPU tables use; 0: as many as the machine has. Results do not depend on it. */
void kernels_set_threads(int n);

#endif
