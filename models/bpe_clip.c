/*
 * CLIP's list of merges (bpe_simple_vocab_16e6.txt): a first line that is skipped, then a merge a line, "left right".
 * Ids: the 256 bytes, the 256 bytes at a word's end, the merges, the start and the end token. OpenAI's file goes on
 * behind the 48,894 merges that CLIP uses.
 */
#include "common/err.h"
#include "models/bpe_private.h"
#include <stdlib.h>
#include <string.h>

enum { CLIP_MERGES = 49152 - 256 - 2 };

/* One line as a merge whose token is new. */
static int read_merge(struct bpe *b, const char *line, size_t len, size_t number, struct bpe_merge *merge)
{
    const char *space = memchr(line, ' ', len);
    if (!space || memchr(space + 1, ' ', len - (size_t)(space + 1 - line)))
        return err_set(ERR_DATA, "line %zu is no merge (two pieces and a space): %.*s", number,
                       (int)(len < 60 ? len : 60), line);
    size_t left = (size_t)(space - line), right = len - left - 1;
    *merge = (struct bpe_merge){bpe_find_token(b, line, left), bpe_find_token(b, space + 1, right), b->vocab};
    if (merge->left < 0 || merge->right < 0)
        return err_set(ERR_DATA, "line %zu: a piece of the merge is neither a byte nor made by a line before: %.*s",
                       number, (int)(len < 60 ? len : 60), line);
    char *text = xasprintf("%.*s%.*s", (int)left, line, (int)right, space + 1);
    int result = bpe_add_token(b, text, b->vocab);
    free(text);
    return result ? err_set(ERR_DATA, "line %zu makes a piece that is there already: %.*s", number,
                            (int)(len < 60 ? len : 60), line)
                  : 0;
}

int bpe_read_clip(struct bpe *b, const char *text, size_t len)
{
    if (!memmem(text, len, "</w>", 4))
        return err_set(ERR_DATA, "is neither a tokenizer.json nor CLIP's list of merges (bpe_simple_vocab_16e6.txt); "
                                 "of other tokenizers open the tokenizer.json");
    b->pattern = BPE_CLIP;
    b->nfc = b->lower = true;
    bpe_add_alphabet(b, "");
    bpe_add_alphabet(b, "</w>");
    struct bpe_merge *merges = xmalloc(CLIP_MERGES * sizeof(*merges));
    size_t count = 0, number = 1;
    const char *end = text + len, *line = text;
    while (count < CLIP_MERGES && (line = memchr(line, '\n', (size_t)(end - line))) != NULL && ++line < end) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)((stop ? stop : end) - line);
        number++;
        if (n == 0)
            continue;
        if (read_merge(b, line, n, number, &merges[count++])) {
            free(merges);
            return -1;
        }
    }
    bpe_finish(b, merges, count);
    if (count == 0)
        return err_set(ERR_DATA, "holds no merges");
    b->clip_start = b->vocab;
    b->clip_end = b->vocab + 1;
    if (bpe_add_token(b, BPE_CLIP_START, b->clip_start) || bpe_add_token(b, BPE_CLIP_END, b->clip_end))
        return err_set(ERR_DATA, "the merges make %s or %s, which are CLIP's own", BPE_CLIP_START, BPE_CLIP_END);
    b->unk = xstrdup(BPE_CLIP_END);
    bpe_add_added(b, BPE_CLIP_START, (struct bpe_added){.id = b->clip_start, .normalised = true, .special = true});
    bpe_add_added(b, BPE_CLIP_END, (struct bpe_added){.id = b->clip_end, .special = true});
    return 0;
}
