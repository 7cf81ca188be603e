/*
 * The convolutional network that the dVAE's encoder and decoder both are (MODELS.md, 1): an input convolution, groups
 * of residual blocks with a change of resolution between them, ReLU, and a 1x1 output convolution. The encoder pools
 * and its widths double; the decoder, its mirror image, upsamples and its widths halve. All states are NHWC, in the
 * table's compute type; what goes in and comes out is F32.
 */
#ifndef ATELIER_MODELS_DVAE_NET_H
#define ATELIER_MODELS_DVAE_NET_H

#include "models/dvae.h"

#define DVAE_MAX_GROUPS 8
#define DVAE_MAX_BLOCKS 32
#define DVAE_STATS 6 /* the decoder's maps: mu and ln b of three colours */

/* A convolution with bias; its parameters are neighbours in the table, the weight first. */
struct dvae_conv {
    int in, out, kernel;
    int side;             /* of the picture that it works on */
    int param;            /* index of the weight */
    struct tensor packed; /* the weight as the kernels' inference wants it; none in training */
};

struct dvae_block {
    bool has_id; /* widths differ, so the identity path is a 1x1 convolution */
    struct dvae_conv id, conv[4];
    struct tensor x, y;   /* state before and after; the same tensor without `id`, since the backward pass needs the
                             input then only as act[0] */
    struct tensor act[4]; /* each convolution's input, behind its ReLU; in inference act[0] has no place, and x stands
                             for it */
};

struct dvae_net {
    const struct kernels *k;
    const struct params *params;
    bool decoder, train, packed;
    int groups, blocks; /* blocks in a group */
    float gain;
    struct dvae_conv input, output;
    struct dvae_block block[DVAE_MAX_GROUPS * DVAE_MAX_BLOCKS];
    struct tensor first;   /* the input convolution's output */
    struct tensor columns; /* in inference of a decoder: what the input convolution makes of each code, [vocab, init] */
};

/* Working memory of both networks. Inference: the state moves between flow[0] and flow[1], and a block's inner states
 * are in hidden. Backward pass: the same for gradients. */
struct dvae_scratch {
    size_t flow_size, wide_size, hidden_size; /* elements, the largest that any block needs */
    struct tensor flow[2], wide, hidden[2];
};

/* Sets up a network for pictures of `side` pixels and adds its parameters, named as in OpenAI's release behind
 * "encoder." or "decoder.". */
void dvae_net_build(struct dvae_net *net, struct params *p, const struct dvae_config *c, bool decoder, int side);

/* Raises the scratch's sizes to what this network needs for a batch; then, when all networks were asked, takes it. */
void dvae_net_measure(const struct dvae_net *net, struct dvae_scratch *s, int batch, bool train);
void dvae_scratch_layout(struct dvae_scratch *s, struct arena *a);
/* Places the network's states: with `train` each in memory of its own, else all in the scratch. */
void dvae_net_layout(struct dvae_net *net, const struct dvae_scratch *s, struct arena *a, int batch, bool train);

/* out [n, ..., output.out] = net(in [n, ..., input.in]). */
void dvae_net_forward(struct dvae_net *net, const struct dvae_scratch *s, struct tensor out, struct tensor in, int n);
/* codes [n, ...] I32 = the first largest of each position's outputs, in inference; they are not stored. */
void dvae_net_codes(struct dvae_net *net, struct tensor codes, struct tensor in, int n);
/* The same of codes [n, ...] I32 in a decoder's inference: of one code, the input convolution makes a column. */
void dvae_net_from_codes(struct dvae_net *net, struct tensor out, struct tensor codes, int n);
/* All but the output convolution: the features [n, ..., output.in] behind the last ReLU, in the network's memory. */
struct tensor dvae_net_features(struct dvae_net *net, const struct dvae_scratch *s, struct tensor in, int n);
/* After a forward pass of a network laid out for training: weights' gradients += ; din = the gradient of `in`, or
 * absent. */
void dvae_net_backward(struct dvae_net *net, const struct dvae_scratch *s, struct tensor din, struct tensor dout,
                       struct tensor in, int n);

#endif
