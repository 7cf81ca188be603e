/*
 * Finite-difference checks: activations, products, convolution, pictures, normalisation, embedding, attention.
 */
#include "attention_shape.h"
#include "gradient.h"

/* s: activation + 1, n */
static void act_sizes(struct gradient *g)
{
    g->x_count[0] = g->y_count = g->s[1];
}

static void act(struct gradient *g)
{
    g->k->act((enum activation)(g->s[0] - 1), g->y, g->x[0], g->s[1]);
}

static void act_backward(struct gradient *g)
{
    g->k->act_backward((enum activation)(g->s[0] - 1), g->dx[0], g->dy, g->x[0], g->s[1]);
}

/* s: repeat, n */
static void add_rows_sizes(struct gradient *g)
{
    g->x_count[0] = g->s[1];
    g->y_count = (size_t)g->s[0] * g->s[1];
}

static void add_rows(struct gradient *g)
{
    g->k->fill(g->y, 0, g->y_count);
    g->k->add_rows(g->y, g->x[0], g->s[0], g->s[1]);
}

static void add_rows_backward(struct gradient *g)
{
    g->k->add_rows_backward(g->dx[0], g->dy, g->s[0], g->s[1]);
}

/* s: rows, in, out */
static void linear_sizes(struct gradient *g)
{
    g->x_count[0] = (size_t)g->s[0] * g->s[1];
    g->x_count[1] = (size_t)g->s[1] * g->s[2];
    g->x_count[2] = g->s[2];
    g->y_count = (size_t)g->s[0] * g->s[2];
}

static void linear(struct gradient *g)
{
    g->k->linear(g->y, g->x[0], g->x[1], g->x[2], g->s[0], g->s[1], g->s[2]);
}

static void linear_backward(struct gradient *g)
{
    g->k->linear_backward(g->dx[0], g->dx[1], g->dx[2], g->dy, g->x[0], g->x[1], g->s[0], g->s[1], g->s[2]);
}

/* s: batch, height, width, in, out, kernel */
static struct conv_shape conv_shape(const int *s)
{
    return (struct conv_shape){s[0], s[1], s[2], s[3], s[4], s[5]};
}

static void conv_sizes(struct gradient *g)
{
    struct conv_shape c = conv_shape(g->s);
    size_t pixels = (size_t)c.batch * c.height * c.width;
    g->x_count[0] = pixels * c.in;
    g->x_count[1] = (size_t)c.out * c.in * c.kernel * c.kernel;
    g->x_count[2] = c.out;
    g->y_count = pixels * c.out;
}

static void conv(struct gradient *g)
{
    struct conv_shape c = conv_shape(g->s);
    g->k->conv(g->y, g->x[0], g->x[1], g->x[2], &c);
}

static void conv_backward(struct gradient *g)
{
    struct conv_shape c = conv_shape(g->s);
    g->k->conv_backward(g->dx[0], g->dx[1], g->dx[2], g->dy, g->x[0], g->x[1], &c);
}

/* s: batch, height, width, channels */
static size_t picture(const int *s)
{
    return (size_t)s[0] * s[1] * s[2] * s[3];
}

static void maxpool_sizes(struct gradient *g)
{
    g->x_count[0] = picture(g->s);
    g->y_count = picture(g->s) / 4;
}

static void maxpool(struct gradient *g)
{
    g->k->maxpool(g->y, g->x[0], g->s[0], g->s[1], g->s[2], g->s[3]);
}

static void maxpool_backward(struct gradient *g)
{
    g->k->maxpool_backward(g->dx[0], g->dy, g->x[0], g->s[0], g->s[1], g->s[2], g->s[3]);
}

static void upsample_sizes(struct gradient *g)
{
    g->x_count[0] = picture(g->s);
    g->y_count = picture(g->s) * 4;
}

static void upsample(struct gradient *g)
{
    g->k->upsample(g->y, g->x[0], g->s[0], g->s[1], g->s[2], g->s[3]);
}

static void upsample_backward(struct gradient *g)
{
    g->k->upsample_backward(g->dx[0], g->dy, g->s[0], g->s[1], g->s[2], g->s[3]);
}

/* s: rows, d */
static void layernorm_sizes(struct gradient *g)
{
    g->x_count[0] = g->y_count = (size_t)g->s[0] * g->s[1];
    g->x_count[1] = g->x_count[2] = g->s[1];
}

static void layernorm(struct gradient *g)
{
    g->k->layernorm(g->y, g->saved[0], g->saved[1], g->x[0], g->x[1], g->x[2], g->s[0], g->s[1]);
}

static void layernorm_backward(struct gradient *g)
{
    g->k->layernorm_backward(g->dx[0], g->dx[1], g->dx[2], g->dy, g->x[0], g->saved[0], g->saved[1], g->x[1], g->s[0],
                             g->s[1], 1);
}

static void l2norm_sizes(struct gradient *g)
{
    g->x_count[0] = g->y_count = (size_t)g->s[0] * g->s[1];
}

static void l2norm(struct gradient *g)
{
    g->k->l2norm(g->y, g->saved[0], g->x[0], g->s[0], g->s[1]);
}

static void l2norm_backward(struct gradient *g)
{
    g->k->l2norm_backward(g->dx[0], g->dy, g->y, g->saved[0], g->s[0], g->s[1]);
}

/* s: rows, d; a table of 4 */
static void embed_sizes(struct gradient *g)
{
    g->x_count[0] = (size_t)4 * g->s[1];
    g->y_count = (size_t)g->s[0] * g->s[1];
}

static void embed(struct gradient *g)
{
    g->k->embed(g->y, g->x[0], g->ids, g->s[0], g->s[1], false);
}

static void embed_backward(struct gradient *g)
{
    g->k->embed_backward(g->dx[0], g->dy, g->ids, g->s[0], g->s[1]);
}

static void attention_sizes(struct gradient *g)
{
    g->y_count = (size_t)g->s[1] * g->s[2] * g->s[3] * g->s[4];
    g->x_count[0] = 3 * g->y_count;
}

static void attention(struct gradient *g)
{
    struct attention_shape s = attention_shape(g->s);
    g->k->attention(g->y, g->saved[0], g->x[0], &s);
}

static void attention_backward(struct gradient *g)
{
    struct attention_shape s = attention_shape(g->s);
    g->k->attention_backward(g->dx[0], g->dy, g->x[0], g->y, g->saved[0], &s);
}

static const struct differentiable LAYERS[] = {
    {"act",
     act_sizes,
     act,
     act_backward,
     FILL_SPACED,
     false,
     {false},
     1e-3,
     {{ACT_RELU + 1, 1},
      {ACT_RELU + 1, 37},
      {ACT_GELU + 1, 1},
      {ACT_GELU + 1, 101},
      {ACT_QUICK_GELU + 1, 1},
      {ACT_QUICK_GELU + 1, 101}}},
    {"add_rows",
     add_rows_sizes,
     add_rows,
     add_rows_backward,
     FILL_UNIFORM,
     false,
     {true},
     1e-3,
     {{1, 1}, {3, 7}, {17, 5}}},
    {"linear",
     linear_sizes,
     linear,
     linear_backward,
     FILL_UNIFORM,
     false,
     {false, true, true},
     1e-3,
     {{1, 1, 1}, {3, 7, 5}, {5, 1, 17}, {2, 17, 3}, {9, 6, 6}}},
    {"conv",
     conv_sizes,
     conv,
     conv_backward,
     FILL_UNIFORM,
     false,
     {false, true, true},
     1e-3,
     {{1, 1, 1, 1, 1, 1},
      {1, 1, 1, 3, 2, 3},
      {2, 3, 5, 1, 3, 3},
      {1, 5, 4, 3, 1, 5},
      {2, 4, 3, 2, 3, 1},
      {1, 2, 3, 2, 2, 7}}},
    {"maxpool",
     maxpool_sizes,
     maxpool,
     maxpool_backward,
     FILL_SPACED,
     false,
     {false},
     1e-3,
     {{1, 2, 2, 1}, {1, 4, 2, 3}, {3, 2, 6, 5}}},
    {"upsample",
     upsample_sizes,
     upsample,
     upsample_backward,
     FILL_UNIFORM,
     false,
     {false},
     1e-3,
     {{1, 1, 1, 1}, {1, 3, 2, 3}, {3, 1, 4, 5}}},
    {"layernorm",
     layernorm_sizes,
     layernorm,
     layernorm_backward,
     FILL_WIDE,
     false,
     {true, true, true},
     5e-3,
     {{1, 3}, {1, 7}, {3, 5}, {5, 17}, {2, 33}}},
    {"l2norm", l2norm_sizes, l2norm, l2norm_backward, FILL_WIDE, false, {false}, 5e-3, {{1, 2}, {3, 7}, {5, 17}}},
    {"embed", embed_sizes, embed, embed_backward, FILL_UNIFORM, false, {true}, 1e-3, {{17, 1}, {15, 3}, {19, 7}}},
    {"attention",
     attention_sizes,
     attention,
     attention_backward,
     FILL_WIDE,
     false,
     {false},
     5e-3,
     {{MASK_NONE + 1, 1, 1, 1, 3},
      {MASK_NONE + 1, 2, 5, 2, 3},
      {MASK_CAUSAL + 1, 1, 7, 2, 3},
      {MASK_ROW + 1, 1, 11, 1, 3, 2, 3, 3},
      {MASK_ROW + 1, 2, 6, 2, 2, 3, 2, 3},
      {MASK_COLUMN + 1, 1, 11, 1, 3, 2, 3, 3},
      {MASK_COLUMN + 1, 2, 6, 2, 2, 3, 2, 3},
      {MASK_CONV + 1, 1, 11, 1, 3, 2, 3, 3},
      {MASK_CONV + 1, 2, 6, 2, 2, 3, 2, 5},
      {MASK_CONV + 1, 1, 18, 1, 2, 2, 4, 3}}},
};

int main(void)
{
    return gradient_all(LAYERS, sizeof LAYERS / sizeof *LAYERS);
}
