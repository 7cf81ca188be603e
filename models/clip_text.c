/* Captions as CLIP's text tower reads them. */
#include "models/clip_text.h"
#include <string.h>

int clip_text_vocab(const struct bpe *b)
{
    return bpe_vocab(b) + (bpe_is_clip(b) ? 0 : 2);
}

void clip_text_ids(const struct bpe *b, struct bpe_worker *w, const char *caption, size_t len, int context,
                   struct ints *ids, int32_t *out)
{
    ids->len = 0;
    bpe_encode(w, caption, len, ids);
    int n = (int)ids->len < context - 2 ? (int)ids->len : context - 2;
    memset(out, 0, (size_t)context * sizeof *out);
    out[0] = bpe_is_clip(b) ? bpe_clip_start(b) : bpe_vocab(b);
    if (n)
        memcpy(out + 1, ids->data, (size_t)n * sizeof *out);
    out[n + 1] = bpe_is_clip(b) ? bpe_clip_end(b) : bpe_vocab(b) + 1;
}
