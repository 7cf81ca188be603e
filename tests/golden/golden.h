/*
 * Golden vectors: files of a model's weights, inputs and what a peer computed from them. Each kind of file is checked
 * by one function; what they share is here. A check returns -1, with an error, when the file cannot be used.
 */
#ifndef ATELIER_TESTS_GOLDEN_H
#define ATELIER_TESTS_GOLDEN_H

#include "models/params.h"

/* The largest error that passes, as a share of the largest value of the expected tensor. */
#define GOLDEN_VALUE 1e-4f    /* logits, features, losses, updated weights */
#define GOLDEN_GRADIENT 1e-3f /* gradients */

struct golden {
    const char *path;
    const struct kernels *k;
    const struct weights *w; /* the file */
    int compared, failed;    /* tensors */
};

int golden_dvae(struct golden *g);
int golden_prior(struct golden *g);
int golden_prior_greedy(struct golden *g);
int golden_clip(struct golden *g);
int golden_clip_train(struct golden *g);
int golden_clip_preprocess(struct golden *g);
int golden_container(struct golden *g); /* PyTorch's files: compared with the weights in the golden file beside them */
int golden_bpe(struct golden *g);       /* lines of a text and its ids; the vocabularies are beside the file */

/* Compare, print a line, and count. */
void golden_floats(struct golden *g, const char *name, const float *got, const float *want, size_t n, float tolerance);
void golden_exact(struct golden *g, const char *name, size_t differ, size_t n);
void golden_ints(struct golden *g, const char *name, const int32_t *got, const int32_t *want, size_t n);

/* The file's tensor of that name. `shape`: 0 stands for any size. NULL with an error that names what is not so. */
const struct weight *golden_find(const struct golden *g, const char *name, int ndim, const int64_t *shape);
/* Compares with the file's tensor of that name, which must have n elements. 0 or -1. */
int golden_expect(struct golden *g, const char *name, const float *got, size_t n, float tolerance);
/* All gradients: each parameter's with the file's "grad." + name. 0 or -1. */
int golden_gradients(struct golden *g, const struct params *p);

/* A tensor's elements; the caller frees them. Ints: NULL with an error when the tensor holds other types. */
float *golden_read(const struct weight *t);
int32_t *golden_read_ints(const struct weight *t);
/* out [n, cols, rows] = in [n, rows, cols]: NCHW to NHWC and back. */
void golden_transpose(float *out, const float *in, size_t n, size_t rows, size_t cols);

/* Numbers of the metadata. 0 or -1. */
int golden_number(const struct golden *g, const char *key, double low, double high, double *value);

/* The path of a file in the same folder as the golden file; the caller frees it. */
char *golden_beside(const struct golden *g, const char *name);

#endif
