/*
 * The dVAE's encoder and decoder networks, forward and backward.
 */
#include "models/dvae_net.h"
#include "common/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static struct dvae_conv add_conv(struct params *p, int in, int out, int kernel, int side, const char *name)
{
    struct dvae_conv c = {.in = in, .out = out, .kernel = kernel, .side = side, .param = p->count};
    params_add(p, true, INIT_NORMAL, 1 / sqrtf((float)in * (float)kernel * (float)kernel), 4,
               (const int64_t[]){out, in, kernel, kernel}, "%s.w", name);
    p->list[c.param].compute = true;
    params_add(p, false, INIT_ZERO, 0, 1, (const int64_t[]){out}, "%s.b", name);
    return c;
}

static void add_block(struct dvae_block *b, struct params *p, bool decoder, int in, int out, int side, const char *name)
{
    char conv[80];
    int hidden = out / 4;
    b->has_id = in != out;
    if (b->has_id) {
        snprintf(conv, sizeof conv, "%s.id_path", name);
        b->id = add_conv(p, in, out, 1, side, conv);
    }
    for (int i = 0; i < 4; i++) {
        bool pointwise = i == (decoder ? 0 : 3);
        snprintf(conv, sizeof conv, "%s.res_path.conv_%d", name, i + 1);
        b->conv[i] = add_conv(p, i == 0 ? in : hidden, i == 3 ? out : hidden, pointwise ? 1 : 3, side, conv);
    }
}

void dvae_net_build(struct dvae_net *net, struct params *p, const struct dvae_config *c, bool decoder, int side)
{
    const char *part = decoder ? "decoder" : "encoder";
    int layers = c->groups * c->blocks;
    char name[64];
    *net = (struct dvae_net){.params = p, .decoder = decoder, .groups = c->groups, .blocks = c->blocks};
    net->gain = 1 / ((float)layers * (float)layers);

    int now = decoder ? side >> (c->groups - 1) : side, width = decoder ? c->init : c->hidden;
    snprintf(name, sizeof name, "%s.blocks.input", part);
    net->input = add_conv(p, decoder ? c->vocab : 3, width, decoder ? 1 : 7, now, name);
    for (int g = 0; g < c->groups; g++) {
        int out = c->hidden << (decoder ? c->groups - 1 - g : g);
        if (g > 0)
            now = decoder ? now * 2 : now / 2;
        for (int i = 0; i < c->blocks; i++) {
            snprintf(name, sizeof name, "%s.blocks.group_%d.block_%d", part, g + 1, i + 1);
            add_block(&net->block[g * c->blocks + i], p, decoder, width, out, now, name);
            width = out;
        }
    }
    snprintf(name, sizeof name, "%s.blocks.output.conv", part);
    net->output = add_conv(p, width, decoder ? DVAE_STATS : c->vocab, 1, now, name);
}

static size_t elements(int batch, int side, int channels)
{
    return (size_t)batch * (size_t)side * (size_t)side * (size_t)channels;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

void dvae_net_measure(const struct dvae_net *net, struct dvae_scratch *s, int batch, bool train)
{
    size_t first = elements(batch, net->input.side, net->input.out);
    s->flow_size = larger(s->flow_size, first);
    for (int i = 0; i < net->groups * net->blocks; i++) {
        const struct dvae_conv *in = &net->block[i].conv[0], *out = &net->block[i].conv[3];
        size_t wide = larger(elements(batch, in->side, in->in), elements(batch, out->side, out->out));
        s->flow_size = larger(s->flow_size, wide);
        s->wide_size = train ? larger(s->wide_size, wide) : 0;
        s->hidden_size = larger(s->hidden_size, elements(batch, in->side, in->out));
    }
}

void dvae_scratch_layout(struct dvae_scratch *s, struct arena *a)
{
    s->wide = arena_take(a, s->wide_size, a->k->compute);
    for (int i = 0; i < 2; i++) {
        s->flow[i] = arena_take(a, s->flow_size, a->k->compute);
        s->hidden[i] = arena_take(a, s->hidden_size, a->k->compute);
    }
}

static struct conv_shape shape_of(const struct dvae_conv *c, int n)
{
    return (struct conv_shape){n, c->side, c->side, c->in, c->out, c->kernel};
}

static void each_conv(struct dvae_net *net, void (*visit)(struct dvae_net *net, struct dvae_conv *c, void *data),
                      void *data)
{
    visit(net, &net->input, data);
    for (int i = 0; i < net->groups * net->blocks; i++) {
        struct dvae_block *b = &net->block[i];
        if (b->has_id)
            visit(net, &b->id, data);
        for (int j = 0; j < 4; j++)
            visit(net, &b->conv[j], data);
    }
    visit(net, &net->output, data);
}

static void take_packed(struct dvae_net *net, struct dvae_conv *c, void *arena)
{
    struct conv_shape s = shape_of(c, 1);
    c->packed = arena_take(arena, net->k->conv_packed_size(&s), net->k->compute);
}

static void pack(struct dvae_net *net, struct dvae_conv *c, void *unused)
{
    (void)unused;
    struct conv_shape s = shape_of(c, 1);
    net->k->conv_pack(c->packed, param_value(net->params, c->param), &s);
}

/* A place for the next state: its own, or the flow buffer that the present state is not in. */
static struct tensor next_state(const struct dvae_scratch *s, struct arena *a, size_t count, bool train, int *flow)
{
    if (train)
        return arena_take(a, count, a->k->compute);
    *flow = 1 - *flow;
    return s->flow[*flow];
}

void dvae_net_layout(struct dvae_net *net, const struct dvae_scratch *s, struct arena *a, int batch, bool train)
{
    int flow = 1;
    net->k = a->k;
    net->train = train;
    if (!train)
        each_conv(net, take_packed, a);
    if (!train && net->decoder)
        net->columns = arena_take(a, (size_t)net->input.in * (size_t)net->input.out, F32);
    net->first = next_state(s, a, elements(batch, net->input.side, net->input.out), train, &flow);
    struct tensor state = net->first;
    for (int i = 0; i < net->groups * net->blocks; i++) {
        struct dvae_block *b = &net->block[i];
        if (i > 0 && i % net->blocks == 0)
            state = next_state(s, a, elements(batch, b->conv[0].side, b->conv[0].in), train, &flow);
        b->x = state;
        if (b->has_id)
            state = next_state(s, a, elements(batch, b->id.side, b->id.out), train, &flow);
        b->y = state;
        for (int j = 0; j < 4; j++) {
            size_t count = elements(batch, b->conv[j].side, b->conv[j].in);
            b->act[j] = train ? arena_take(a, count, a->k->compute) : s->hidden[j % 2];
        }
    }
}

static void conv_forward(const struct dvae_net *net, const struct dvae_conv *c, struct tensor y, struct tensor x, int n)
{
    struct conv_shape s = shape_of(c, n);
    net->k->conv(y, x, param_value(net->params, c->param), param_value(net->params, c->param + 1), &s);
}

static void conv_backward(const struct dvae_net *net, const struct dvae_conv *c, struct tensor dx, struct tensor dy,
                          struct tensor x, int n)
{
    struct conv_shape s = shape_of(c, n);
    net->k->conv_backward(dx, param_grad(net->params, c->param), param_grad(net->params, c->param + 1), dy, x,
                          param_value(net->params, c->param), &s);
}

static void block_forward(const struct dvae_net *net, const struct dvae_block *b, const struct dvae_scratch *s, int n)
{
    struct tensor x = b->x;
    for (int i = 0; i < 4; i++) {
        net->k->act(ACT_RELU, b->act[i], x, elements(n, b->conv[i].side, b->conv[i].in));
        x = i < 3 ? b->act[i + 1] : s->wide;
        conv_forward(net, &b->conv[i], x, b->act[i], n);
    }
    if (b->has_id)
        conv_forward(net, &b->id, b->y, b->x, n);
    net->k->axpy(b->y, net->gain, s->wide, elements(n, b->conv[3].side, b->conv[3].out));
}

/* The change of resolution before block `b`, from the state y of the block before. */
static void resize_forward(const struct dvae_net *net, const struct dvae_block *b, int n)
{
    int side = b[-1].conv[3].side, channels = b[-1].conv[3].out;
    if (net->decoder)
        net->k->upsample(b->x, b[-1].y, n, side, side, channels);
    else
        net->k->maxpool(b->x, b[-1].y, n, side, side, channels);
}

static struct tensor train_features(struct dvae_net *net, const struct dvae_scratch *s, struct tensor in, int n)
{
    int last = net->groups * net->blocks - 1;
    conv_forward(net, &net->input, net->first, in, n);
    for (int i = 0; i <= last; i++) {
        if (i > 0 && i % net->blocks == 0)
            resize_forward(net, &net->block[i], n);
        block_forward(net, &net->block[i], s, n);
    }
    struct tensor y = net->block[last].y;
    net->k->act(ACT_RELU, y, y, elements(n, net->output.side, net->output.in));
    return y;
}

static void infer(const struct dvae_net *net, const struct dvae_conv *c, struct tensor y, struct tensor x, int n,
                  struct conv_fusion f)
{
    struct conv_shape s = shape_of(c, n);
    net->k->conv_infer(y, x, c->packed, param_value(net->params, c->param + 1), &s, &f);
}

/* columns = the input convolution's weights turned, plus its bias. */
static void pack_columns(struct dvae_net *net)
{
    size_t codes = (size_t)net->input.in, width = (size_t)net->input.out;
    float *w = xmalloc((codes * width + width) * sizeof *w), *bias = w + codes * width;
    float *columns = xmalloc(codes * width * sizeof *columns);
    net->k->download(w, param_value(net->params, net->input.param), codes * width);
    net->k->download(bias, param_value(net->params, net->input.param + 1), width);
    for (size_t c = 0; c < codes; c++)
        for (size_t i = 0; i < width; i++)
            columns[c * width + i] = bias[i] + w[i * codes + c];
    net->k->upload(net->columns, columns, codes * width);
    free(columns);
    free(w);
}

static void pack_once(struct dvae_net *net)
{
    if (net->packed)
        return;
    each_conv(net, pack, NULL);
    if (net->decoder)
        pack_columns(net);
    net->packed = true;
}

/* The features of what is in net->first. */
static struct tensor infer_blocks(struct dvae_net *net, int n)
{
    int last = net->groups * net->blocks - 1;
    for (int i = 0; i <= last; i++) {
        const struct dvae_block *b = &net->block[i];
        if (i > 0 && i % net->blocks == 0)
            resize_forward(net, b, n);
        infer(net, &b->conv[0], b->act[1], b->x, n, (struct conv_fusion){.relu_in = true, .relu_out = true});
        infer(net, &b->conv[1], b->act[2], b->act[1], n, (struct conv_fusion){.relu_out = true});
        infer(net, &b->conv[2], b->act[3], b->act[2], n, (struct conv_fusion){.relu_out = true});
        if (b->has_id)
            infer(net, &b->id, b->y, b->x, n, (struct conv_fusion){0});
        infer(net, &b->conv[3], b->y, b->act[3], n, (struct conv_fusion){.gain = net->gain, .relu_out = i == last});
    }
    return net->block[last].y;
}

static struct tensor infer_features(struct dvae_net *net, struct tensor in, int n)
{
    pack_once(net);
    infer(net, &net->input, net->first, in, n, (struct conv_fusion){0});
    return infer_blocks(net, n);
}

struct tensor dvae_net_features(struct dvae_net *net, const struct dvae_scratch *s, struct tensor in, int n)
{
    return net->train ? train_features(net, s, in, n) : infer_features(net, in, n);
}

void dvae_net_forward(struct dvae_net *net, const struct dvae_scratch *s, struct tensor out, struct tensor in, int n)
{
    struct tensor features = dvae_net_features(net, s, in, n);
    if (net->train)
        conv_forward(net, &net->output, out, features, n);
    else
        infer(net, &net->output, out, features, n, (struct conv_fusion){0});
}

void dvae_net_from_codes(struct dvae_net *net, struct tensor out, struct tensor codes, int n)
{
    pack_once(net);
    net->k->embed(net->first, net->columns, codes, n * net->input.side * net->input.side, net->input.out, false);
    infer(net, &net->output, out, infer_blocks(net, n), n, (struct conv_fusion){0});
}

void dvae_net_codes(struct dvae_net *net, struct tensor codes, struct tensor in, int n)
{
    struct tensor features = infer_features(net, in, n);
    struct conv_shape s = shape_of(&net->output, n);
    net->k->conv_argmax(codes, features, net->output.packed, param_value(net->params, net->output.param + 1), &s);
}

/* dy is the gradient of the block's output; returns that of its input, in dy itself or in `other`. A ReLU's result
 * stands for its argument in act_backward: both are positive at the same places. */
static struct tensor block_backward(const struct dvae_net *net, const struct dvae_block *b,
                                    const struct dvae_scratch *s, struct tensor dy, struct tensor other, int n)
{
    const struct kernels *k = net->k;
    size_t out = elements(n, b->conv[3].side, b->conv[3].out);
    k->copy(s->wide, dy, out);
    k->scale(s->wide, net->gain, out);
    struct tensor d = s->wide;
    for (int i = 3; i >= 0; i--) {
        struct tensor dx = i == 0 ? s->wide : s->hidden[i % 2];
        conv_backward(net, &b->conv[i], dx, d, b->act[i], n);
        k->act_backward(ACT_RELU, dx, dx, b->act[i], elements(n, b->conv[i].side, b->conv[i].in));
        d = dx;
    }
    struct tensor dx = dy;
    if (b->has_id) {
        conv_backward(net, &b->id, other, dy, b->x, n);
        dx = other;
    }
    k->axpy(dx, 1, s->wide, elements(n, b->conv[0].side, b->conv[0].in));
    return dx;
}

static void resize_backward(const struct dvae_net *net, const struct dvae_block *b, struct tensor dx, struct tensor dy,
                            int n)
{
    int side = b[-1].conv[3].side, channels = b[-1].conv[3].out;
    if (net->decoder)
        net->k->upsample_backward(dx, dy, n, side, side, channels);
    else
        net->k->maxpool_backward(dx, dy, b[-1].y, n, side, side, channels);
}

void dvae_net_backward(struct dvae_net *net, const struct dvae_scratch *s, struct tensor din, struct tensor dout,
                       struct tensor in, int n)
{
    int last = net->groups * net->blocks - 1;
    struct tensor y = net->block[last].y, d = s->flow[0], other = s->flow[1];
    conv_backward(net, &net->output, d, dout, y, n);
    net->k->act_backward(ACT_RELU, d, d, y, elements(n, net->output.side, net->output.in));
    for (int i = last; i >= 0; i--) {
        struct tensor dx = block_backward(net, &net->block[i], s, d, other, n);
        if (dx.data != d.data) {
            other = d;
            d = dx;
        }
        if (i > 0 && i % net->blocks == 0) {
            resize_backward(net, &net->block[i], other, d, n);
            struct tensor swap = d;
            d = other;
            other = swap;
        }
    }
    conv_backward(net, &net->input, din, d, in, n);
}
