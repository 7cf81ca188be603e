/* The shapes that attention is tried on, as rows of numbers. */
#ifndef ATELIER_TESTS_UNIT_KERNELS_ATTENTION_SHAPE_H
#define ATELIER_TESTS_UNIT_KERNELS_ATTENTION_SHAPE_H

#include "kernels/kernels.h"

/* s: mask + 1, batch, states, heads, head_dim, prefix, grid, kernel */
static inline struct attention_shape attention_shape(const int *s)
{
    return (struct attention_shape){.mask = (enum mask)(s[0] - 1),
                                    .batch = s[1],
                                    .states = s[2],
                                    .heads = s[3],
                                    .head_dim = s[4],
                                    .prefix = s[5],
                                    .grid = s[6],
                                    .kernel = s[7]};
}

#endif
