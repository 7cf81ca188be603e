/*
 * What a CLIP holds, for the files that make it up: clip.c (running), clip_tower.c (a tower from its first states to
 * its features), clip_train.c, clip_contrast.c (the loss), clip_file.c.
 */
#ifndef ATELIER_MODELS_CLIP_PRIVATE_H
#define ATELIER_MODELS_CLIP_PRIVATE_H

#include "models/clip.h"
#include "models/transformer.h"

#define CLIP_MAX_LAYERS 128

/* What both towers are from their first states on: blocks, one state picked of each sequence, LayerNorm, projection,
 * unit length. */
struct clip_tower {
    int width, layers, heads, states, embed;
    enum mask mask;
    int blocks, norm, projection; /* parameter indices: first block; gain, bias behind it; [width, embed] */

    struct tensor state[CLIP_MAX_LAYERS + 1]; /* [batch, states, width] before each block and after the last; the same
                                                 tensor without training */
    struct block_acts acts[CLIP_MAX_LAYERS];
    struct tensor pick;                       /* [batch] I32: rows of the states that features come from */
    struct tensor picked, normed, mean, rstd; /* [batch, width] twice, [batch] twice */
    struct tensor features, length, unit;     /* [batch, embed], [batch], [batch, embed] */

    /* For training alone: gradients, and what the blocks work in. */
    struct tensor dstate, dpicked, dnormed, dfeatures, dunit;
    struct block_scratch scratch;
};

/* The scores of a process's own pictures with all captions of the batch, and of its captions with all pictures. */
struct clip_contrast {
    const struct comm *comm;
    int pairs;                     /* of the batch, over all processes */
    size_t first;                  /* this process's first */
    struct tensor all[2], dall[2]; /* [pairs, embed]: units of all pictures and captions; gradients of own terms */
    struct tensor logits[2], dlogits[2];            /* [batch, pairs] */
    struct tensor losses[2], targets, best, scalar; /* [batch] ...; [1] */
    struct arena arena;
};

struct clip {
    const struct kernels *k;
    struct clip_config config;
    struct params params;
    int batch;
    int pass; /* sequences that go through a tower at once, but in training */
    bool train;
    struct clip_tower image, text;
    struct arena arena;

    int class_embedding, image_positions, conv1, ln_pre; /* parameter indices */
    int tokens, text_positions, logit_scale;

    struct tensor pictures, patches; /* [batch, side, side, 3]; [batch, (side/patch)^2, 3 patch patch] */
    struct tensor patch_states;      /* [batch, (side/patch)^2, width] */
    struct tensor sum, mean, rstd;   /* states before ln_pre */
    /* I32 [batch, states]: which row of patch_states, or of the class embedding, a state starts from; -1: none. */
    struct tensor from_patch, from_class;
    struct tensor ids; /* [batch, context] I32 */

    /* For training alone. */
    struct tensor dsum, dpatch_states;
    struct clip_contrast contrast;
};

/* Adds a tower's blocks, last norm and projection to the table, under `prefix` ("visual." or ""). */
void clip_tower_add(struct clip_tower *t, struct params *p, bool visual);
void clip_tower_layout(struct clip_tower *t, struct arena *a, int batch, bool train);
/* From state[0] and pick to features [n, embed], and `unit`, features at unit length. */
void clip_tower_forward(struct clip_tower *t, const struct params *p, int n);
/* From dunit to dstate, the gradient of state[0]; weights' gradients += . */
void clip_tower_backward(struct clip_tower *t, const struct params *p, int n);

size_t clip_picture(const struct clip *c); /* values of a picture */

/* Run a tower up to its features, n sequences at once: the image tower of what is in c->pictures, the text tower of
 * host ids. */
void clip_image_forward(struct clip *c, int n);
void clip_text_forward(struct clip *c, const int32_t *text, int n);

/* From the towers' units of n own pairs to their gradients, the scale's, and what clip_train gives. 0 or -1. */
int clip_contrast(struct clip *c, int n, float *loss, int *correct);

/* Checks the sizes, and makes a CLIP whose table is complete but nothing is allocated for it; then allocates. 0 or -1.
 */
int clip_build(struct clip **c, const struct kernels *k, const struct clip_config *config, int batch, bool train);
int clip_alloc(struct clip *c);

#endif
