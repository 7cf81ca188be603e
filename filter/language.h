/*
 * Is a caption in a language that is wanted? Its words answer where they can (lexicon.h); where they leave a doubt,
 * statistics of letters decide (detect.h), and the fewer words speak for the caption, the surer they must be.
 */
#ifndef ATELIER_FILTER_LANGUAGE_H
#define ATELIER_FILTER_LANGUAGE_H

#include "filter/detect.h"
#include "filter/lexicon.h"

struct language_verdict {
    bool accepted;
    const char *name; /* where not accepted: the language, or "unknown"; points into this struct */
    struct lexicon_score score;
    bool asked; /* whether `detected` was needed */
    struct detected detected;
};

/* Judges a cleaned caption. */
void language_judge(const struct lexicon *x, const char *text, size_t len, struct language_verdict *v);

#endif
