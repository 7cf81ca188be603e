/*
 * What atelier-tokenize does to records: captions to tokens, tokens to captions, and counting captions for a new
 * vocabulary.
 */
#ifndef ATELIER_TOKENIZE_TOKENIZE_H
#define ATELIER_TOKENIZE_TOKENIZE_H

#include "common/stage.h"
#include "models/bpe.h"

enum tokenize_mode { TOKENIZE_ENCODE, TOKENIZE_DECODE, TOKENIZE_TRAIN };

struct tokenize {
    enum tokenize_mode mode;
    const char *vocab; /* file: read, or written by training; NULL: not given */
    int64_t length;    /* T: a caption's tokens at most */
    int64_t vocab_size;
    struct bpe *bpe;
    struct bpe_worker *worker;
    struct bpe_trainer *trainer;
    struct ints ids;
    struct buf text;
    uint64_t captions; /* added to the trainer */
};

/* Sets `tokens`, at most T of them, and `cut` to the number left out (absent when none), which it returns. Without a
 * caption the record is rejected. */
size_t tokenize_encode(struct tokenize *t, struct record *r);
/* Sets `caption` to the text of `tokens`; a record that has none, or one of over a caption's limit, is rejected. */
void tokenize_decode(struct tokenize *t, struct record *r);

/* The functions of struct stage. */
int tokenize_start(void *self, struct stage_output *out);
int tokenize_process(void *self, struct record *r, struct stage_output *out);
int tokenize_finish(void *self, struct stage_output *out);
void tokenize_close(void *self);

#endif
