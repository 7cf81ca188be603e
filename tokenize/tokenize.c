/*
 * What atelier-tokenize does to records (tokenize.h).
 */
#include "tokenize/tokenize.h"
#include "common/err.h"
#include "common/log.h"
#include <inttypes.h>
#include <stdlib.h>

int tokenize_start(void *self, struct stage_output *out)
{
    struct tokenize *t = self;
    (void)out;
    if (!t->vocab)
        return err_set(ERR_USAGE, "--vocab FILE is missing: %s",
                       t->mode == TOKENIZE_TRAIN ? "where the new vocabulary is to be written"
                                                 : "a tokenizer.json, or CLIP's bpe_simple_vocab_16e6.txt.gz");
    if (t->mode == TOKENIZE_TRAIN) {
        t->trainer = bpe_trainer_new();
        return 0;
    }
    if (bpe_open(&t->bpe, t->vocab))
        return -1;
    t->worker = bpe_worker_new(t->bpe);
    return 0;
}

size_t tokenize_encode(struct tokenize *t, struct record *r)
{
    if (!record_has(r, FIELD_CAPTION)) {
        record_reject(r, "caption: none");
        return 0;
    }
    t->ids.len = 0;
    bpe_encode(t->worker, (const char *)r->caption.data, r->caption.len, &t->ids);
    size_t length = t->ids.len < (size_t)t->length ? t->ids.len : (size_t)t->length, cut = t->ids.len - length;
    record_set_ints(r, FIELD_TOKENS, t->ids.data, length);
    if (cut > 0)
        record_set_number(r, FIELD_CUT, (double)cut);
    else
        record_drop(r, FIELD_CUT);
    return cut;
}

void tokenize_decode(struct tokenize *t, struct record *r)
{
    if (!record_has(r, FIELD_TOKENS)) {
        record_reject(r, "tokens: none");
        return;
    }
    t->text.len = 0;
    bpe_decode(t->bpe, r->tokens.data, r->tokens.len, &t->text);
    if (t->text.len > record_fields[FIELD_CAPTION].limit)
        record_reject(r, "tokens: their text of %zu bytes is too long for a caption", t->text.len);
    else
        record_set_string(r, FIELD_CAPTION, t->text.data, t->text.len);
}

int tokenize_process(void *self, struct record *r, struct stage_output *out)
{
    struct tokenize *t = self;
    if (t->mode == TOKENIZE_TRAIN) {
        if (record_has(r, FIELD_CAPTION)) {
            bpe_trainer_add(t->trainer, (const char *)r->caption.data, r->caption.len);
            t->captions++;
        }
        return 0;
    }
    if (t->mode == TOKENIZE_DECODE)
        tokenize_decode(t, r);
    else if (tokenize_encode(t, r) > 0)
        stage_count(out, "cut", 1);
    if (!record_has(r, FIELD_REJECT))
        stage_count(out, "tokens", r->tokens.len);
    return stage_emit(out, r);
}

static void show_training(int done, int all)
{
    log_progress("vocabulary: %d of %d", done, all);
}

int tokenize_finish(void *self, struct stage_output *out)
{
    struct tokenize *t = self;
    if (t->mode != TOKENIZE_TRAIN)
        return 0;
    if (t->captions == 0)
        return err_set(ERR_DATA, "there is no caption to train a vocabulary from");
    if (bpe_trainer_train(t->trainer, (int)t->vocab_size, show_training, &t->bpe) < 0 ||
        (!stage_is_dry(out) && bpe_save(t->bpe, t->vocab) < 0))
        return -1;
    stage_count(out, "captions", t->captions);
    stage_count(out, "vocabulary", (uint64_t)bpe_vocab(t->bpe));
    if (bpe_vocab(t->bpe) < t->vocab_size)
        log_warn("the captions give %d tokens, not %" PRId64, bpe_vocab(t->bpe), t->vocab_size);
    return 0;
}

void tokenize_close(void *self)
{
    struct tokenize *t = self;
    bpe_worker_free(&t->worker);
    bpe_trainer_free(&t->trainer);
    bpe_free(&t->bpe);
    free(t->ids.data);
    buf_free(&t->text);
}
