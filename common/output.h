/*
 * Buffered writing to a file or stdout. A regular file is written beside, as PATH.part, and gets its name when it is
 * whole; stdout, pipes and devices (file_in_place) are written in place, and what is written waits in the buffer a
 * tenth of a second at most while more comes.
 */
#ifndef ATELIER_COMMON_OUTPUT_H
#define ATELIER_COMMON_OUTPUT_H

#include <stddef.h>

struct output;

int output_open(struct output **out, const char *path); /* "-": stdout. 0 or -1 */
const char *output_name(const struct output *out);      /* the path, or "stdout" */
int output_write(struct output *out, const void *data, size_t len);

/* Writes all out; of a regular file: syncs and renames it. The output still is to be closed. 0 or -1. */
int output_finish(struct output *out);

/* Writes out what it can and frees; a regular file that was not finished stays as PATH.part. A NULL inside is passed
 * over. */
void output_close(struct output **out);

#endif
