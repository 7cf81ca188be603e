/*
 * A record as files of one stem (the WebDataset convention): what the kinds tar and dir share.
 */
#ifndef ATELIER_COMMON_MEMBERS_H
#define ATELIER_COMMON_MEMBERS_H

#include "common/record.h"

enum member { MEMBER_IMAGE, MEMBER_CAPTION, MEMBER_JSON, MEMBER_OTHER };

/* By what stands behind the stem's dot, in any case: jpg jpeg png webp, txt caption, json. */
enum member member_of(const char *extension);

/* record_set_caption without the line end that editors leave behind the last line. */
void member_set_caption(struct record *r, const void *text, size_t present, uint64_t whole);

/* Gives the record's files one after the other: picture (when there is one), caption, and the other fields as JSON; the
 * name is the id, and behind a '-' the candidate where there is one. `put` returns 0 or -1, which ends it. */
int members_write(const struct record *r, int (*put)(void *to, const char *name, const void *data, size_t len),
                  void *to);

#endif
