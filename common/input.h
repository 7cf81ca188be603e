/*
 * Buffered reading of a file or stdin, by bytes or by lines. A wait for input ends when the program is told to stop
 * (stage_stopping): the read then fails with ERR_AGAIN.
 */
#ifndef ATELIER_COMMON_INPUT_H
#define ATELIER_COMMON_INPUT_H

#include "common/mem.h"
#include <stdint.h>
#include <sys/types.h>

struct input;

int input_open(struct input **in, const char *path); /* "-": stdin. 0 or -1 */
void input_close(struct input **in);                 /* a NULL inside is passed over */
const char *input_name(const struct input *in);      /* the path, or "stdin" */

/* Reads `len` bytes: fewer only at the end. -1 on an error. */
ssize_t input_read(struct input *in, void *to, size_t len);

/* Replaces `line` by the next line without its LF or CR LF: 1; 0 at the end; -1. Of a longer line the first `limit`
 * bytes are kept; `whole` is the length that it had. */
int input_line(struct input *in, struct buf *line, size_t limit, uint64_t *whole);

double input_fraction(const struct input *in); /* how much of the file was read, 0 .. 1; below 0: unknown */

#endif
