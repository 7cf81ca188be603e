/*
 * What a dVAE holds, for the files that make it up: dvae.c (running and training), dvae_file.c (opening and saving),
 * dvae_kmeans.c (initialisation).
 */
#ifndef ATELIER_MODELS_DVAE_PRIVATE_H
#define ATELIER_MODELS_DVAE_PRIVATE_H

#include "models/dvae_net.h"

struct dvae {
    const struct kernels *k;
    struct dvae_config config;
    struct params params;
    int side, grid, batch;
    int pass; /* pictures that go through the networks at once, but in a training step */
    bool train;
    struct dvae_net encoder, decoder; /* no decoder when config.init is 0 */
    struct dvae_scratch scratch;
    struct arena arena;

    struct tensor x;      /* [batch, side, side, 3] mapped pixels */
    struct tensor logits; /* [batch, grid * grid, vocab] */
    struct tensor stats;  /* [batch, side * side, 6] */
    struct tensor codes;  /* [batch, grid * grid] I32 */
    struct tensor given;  /* the same: what is decoded */

    /* For training alone. */
    struct tensor z;       /* like logits: the decoder's input */
    struct tensor noise;   /* like logits; in the backward pass the gradient of z */
    struct tensor dlogits; /* like logits */
    struct tensor dstats;  /* like stats */
    struct tensor nll;     /* [batch, side * side] */
    struct tensor kl;      /* [batch, grid * grid] */
    struct tensor use;     /* [vocab] */
};

/* Checks the sizes, and makes a dVAE whose table is complete but nothing is allocated for it. 0 or -1. */
int dvae_build(struct dvae **d, const struct kernels *k, const struct dvae_config *c, int side, int batch, bool train);
/* Allocates parameters (zeros) and working memory. 0 or -1. */
int dvae_alloc(struct dvae *d);

#endif
