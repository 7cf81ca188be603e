/*
 * Checkpoints of a run: RUN/checkpoint-000001000/ is a directory of files that belong together, written beside as
 * RUN/.writing, synced and renamed; the two newest are kept. state.json in it holds numbers that are not tensors.
 */
#ifndef ATELIER_COMMON_CHECKPOINT_H
#define ATELIER_COMMON_CHECKPOINT_H

#include "common/mem.h"
#include <stdint.h>

/* Makes RUN/.writing empty and gives its path (malloc'ed). 0 or -1. */
int checkpoint_begin(const char *run, char **dir);
/* Syncs all that was written there, renames it to the checkpoint of `step`, and removes all but the two newest. 0 or
 * -1. */
int checkpoint_commit(const char *run, uint64_t step);
/* The newest whole checkpoint: 1 with its path (malloc'ed) and step, 0 when there is none, -1. */
int checkpoint_latest(const char *run, char **dir, uint64_t *step);

#endif
