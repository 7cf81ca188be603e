/* Captions as CLIP's text tower reads them: start token, ids, end token, zeros up to the context. */
#ifndef ATELIER_MODELS_CLIP_TEXT_H
#define ATELIER_MODELS_CLIP_TEXT_H

#include "models/bpe.h"

/* Ids in all: the vocabulary's, and for a byte-level one a start and an end token behind them (the end token must be
 * the largest id). */
int clip_text_vocab(const struct bpe *b);

/* Writes `context` ids; a longer caption is cut before its end token. `ids` is scratch. */
void clip_text_ids(const struct bpe *b, struct bpe_worker *w, const char *caption, size_t len, int context,
                   struct ints *ids, int32_t *out);

#endif
