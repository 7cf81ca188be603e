/*
 * CLIP (MODELS.md, 4): a ViT image tower and a causal text tower. Inside, OpenAI's names ("visual.conv1.weight",
 * "transformer.resblocks.0.attn.in_proj_weight",
 * ...); Hugging Face's layout is converted on loading. Pictures are [batch, side, side, 3] floats, normalised
 * (clip_preprocess); text is ids [batch, context].
 */
#ifndef ATELIER_MODELS_CLIP_H
#define ATELIER_MODELS_CLIP_H

#include "common/image.h"
#include "models/params.h"

struct clip_config {
    int side, patch, vision_width, vision_layers, vision_heads;
    int context, vocab, text_width, text_layers, text_heads;
    int embed; /* of the shared space */
};

struct clip;

int clip_new(struct clip **c, const struct kernels *k, const struct clip_config *config, int batch, bool train);
void clip_free(struct clip **c);
struct params *clip_params(struct clip *c);
const struct clip_config *clip_config(const struct clip *c);
/* Any layout of MODELS.md, 4, in any container (weights.h). Head counts come from the metadata, else width / 64. 0 or
 * -1. */
int clip_open(struct clip **c, const struct kernels *k, const char *path, int batch);
int clip_open_weights(struct clip **c, const struct kernels *k, const struct weights *w, const char *prefix,
                      int heads_vision, int heads_text, int batch);
int clip_save(const struct clip *c, struct tensor slab, const char *path);

/* What the tower sees of a picture, [side, side, 3]: bicubic short side to `side` (Pillow's, antialiased), centre crop.
 * clip_preprocess: its input, which is that less the mean, by the deviation (host floats). */
void clip_square(const struct image *im, int side, uint8_t *out);
void clip_preprocess(const struct image *im, int side, float *out);

/* Features on the host, [n, embed], of what clip_preprocess or clip_square gave; `normalise`: to unit length. n <=
 * batch. A text's feature is its end token's state: the position of the first largest id, as OpenAI's code takes it
 * (the end token is the last of the vocabulary). Ids are 0 .. vocab - 1. Pictures and texts go through one by one on a
 * CPU, `batch` at a time on a device, however few they are: so a feature does not depend on its neighbours. */
void clip_image_features(struct clip *c, const float *pictures, int n, bool normalise, float *features);
void clip_square_features(struct clip *c, const uint8_t *squares, int n, bool normalise, float *features);
void clip_text_features(struct clip *c, const int32_t *text, int n, bool normalise, float *features);
float clip_logit_scale(const struct clip *c); /* exp(logit_scale) */

/* Of a CLIP for training: from now on its batches are this process's shares (comm_first) of batches of `pairs` pairs,
 * which all processes train on together; it was made for the largest share. 0 or -1. */
int clip_join(struct clip *c, const struct comm *comm, int pairs);

/* Symmetric cross-entropy over a batch, of which these n pairs are this process's share (all of it, unless it joined
 * others): the loss and the gradients (+=) of its own pairs' terms, which add up over processes to the batch's.
 * `correct`: NULL, or receives how many of its pictures' own caption scores highest. 0, or -1 when another process was
 * lost. */
int clip_train(struct clip *c, const float *pictures, const int32_t *text, int n, float *loss, int *correct);

#endif
