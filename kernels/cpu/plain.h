/*
 * The plain kernels: kernels.h's operations in simple loops, single-threaded, sums in double. They are the reference
 * for the fast ones. A file a theme; each puts its operations into the table.
 */
#ifndef ATELIER_KERNELS_CPU_PLAIN_H
#define ATELIER_KERNELS_CPU_PLAIN_H

#include "kernels/kernels.h"

void plain_memory(struct kernels *k);
void plain_elementwise(struct kernels *k);
void plain_products(struct kernels *k);
void plain_convolution(struct kernels *k);
void plain_inference(struct kernels *k);
void plain_pictures(struct kernels *k);
void plain_normalisation(struct kernels *k);
void plain_embedding(struct kernels *k);
void plain_attention(struct kernels *k);
void plain_losses(struct kernels *k);
void plain_relaxation(struct kernels *k);
void plain_optimizer(struct kernels *k);

/* p [classes] = softmax(x) in double; the result is the logarithm of its denominator. */
double plain_softmax(double *p, const float *x, int classes);

/* The first of the largest. */
int plain_first_largest(const float *x, int n);

#endif
