/*
 * The rules of the paper's appendix C, in order; the first that fails names the reason:
 *   image        not decodable, or over the limits             "image: truncated scan"
 *   aspect       width / height outside the limits             "aspect: 640x200"
 *   short        too few words                                 "short: 2 words"
 *   boilerplate  too few words beside dates, names of files, stock phrases
 *                "boilerplate: photographed on <date> (made with, day month year)", what was found, and the rules
 *   language     not a language that is wanted                 "language: fr"
 *   duplicate    a record that was kept before (dedup.h)       "duplicate: of 17", the id of the first
 */
#ifndef ATELIER_FILTER_FILTER_H
#define ATELIER_FILTER_FILTER_H

#include "common/record.h"
#include "filter/picture.h"

struct filter_options {
    struct picture_limits picture;
    bool require_image;    /* a record without a picture fails the image rule; else that rule is not for it */
    bool clean;            /* records go on with the cleaned caption */
    size_t min_words;      /* of the caption, and of what it says beside boilerplate */
    const char *languages; /* "en", "en,de" or "any" */
    bool dedup;
    char **rules_files; /* added to the compiled-in rules */
    size_t rules_file_count;
};

/* The paper's thresholds. */
extern const struct filter_options filter_defaults;

struct filter;

/* 0, or -1 with an error: a rules file that cannot be read, a language that is not known. */
int filter_open(struct filter **f, const struct filter_options *options);
void filter_close(struct filter **f);

/* Judges a record: makes it a tombstone where a rule fails, else sets width and height. 0, or -1: no memory for what
 * duplicates are found by. */
int filter_record(struct filter *f, struct record *r);

/* How many captions CLD2 was asked about. */
uint64_t filter_asked(const struct filter *f);

/* How many captions each boilerplate rule had a part in dropping, of the rules that had any. */
typedef void filter_rule_count(void *arg, const char *rule, uint64_t captions);
void filter_dropped(const struct filter *f, filter_rule_count *each, void *arg);

/* Bytes that duplicates are found by. */
size_t filter_dedup_bytes(const struct filter *f);

/* The same, and appends how the verdict comes about, a line a step, for people. */
int filter_explain(struct filter *f, struct record *r, struct buf *out);

#endif
