/*
 * What a model takes up on a device, found by making it on a table that only counts: it allocates, fills, copies and
 * moves and packs nothing, downloads zeros, and has no other operation.
 */
#ifndef ATELIER_KERNELS_PLAN_H
#define ATELIER_KERNELS_PLAN_H

#include "kernels/kernels.h"

/* The table, with its count at zero. One plan at a time. */
const struct kernels *plan_begin(enum dtype compute);
/* Bytes allocated since; what was freed still counts. */
size_t plan_bytes(void);
/* What the operations take up on a device themselves, where one needs `scratch` bytes at most. */
size_t plan_workspace(size_t scratch);

#endif
