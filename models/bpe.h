/*
 * Byte-pair encoding (MODELS.md, 5 and 4): byte level with GPT-2's split, or CLIP's vocabulary under Hugging Face's
 * rules. Vocabulary files: Hugging Face's tokenizer.json (read and written), CLIP's merges
 * (bpe_simple_vocab_16e6.txt.gz, read).
 */
#ifndef ATELIER_MODELS_BPE_H
#define ATELIER_MODELS_BPE_H

#include "common/record.h"

struct bpe; /* immutable once opened: many threads may encode with one */

/* Told apart by content, gzipped or not. A tokenizer.json of byte-level BPE opens with any of: no normalizer, NFC,
 * Lowercase, both, or CLIP's rules; and with the patterns of bpe_split.h. What its post-processor would add around a
 * text is not added. -1 names the field that would change ids and is not supported. */
int bpe_open(struct bpe **b, const char *path);
void bpe_free(struct bpe **b);
int bpe_save(const struct bpe *b, const char *path); /* tokenizer.json, as Hugging Face writes it */

int bpe_vocab(const struct bpe *b); /* number of ids */
bool bpe_is_clip(const struct bpe *b);
int bpe_clip_start(const struct bpe *b); /* ids of CLIP's start and end tokens; -1 for a byte-level vocabulary */
int bpe_clip_end(const struct bpe *b);

/* Working memory of one thread: word cache and scratch. */
struct bpe_worker;
struct bpe_worker *bpe_worker_new(const struct bpe *b);
void bpe_worker_free(struct bpe_worker **w);

/* Appends the ids of `text` (any bytes; invalid UTF-8 is read as U+FFFD, as a decoder with replacement gives it to
 * Hugging Face's tokenizers) to `ids`. Lower-casing and splitting are done here. CLIP's start and end are not added; an
 * added token of the vocabulary that the text spells out ("<|endoftext|>") becomes that token, as it does there. */
void bpe_encode(struct bpe_worker *w, const char *text, size_t len, struct ints *ids);
/* With BPE dropout (Provilkov et al., 2020): each possible merge is left out with probability p at each application;
 * draws are the words of random_philox(key, hi, 0, 1, ...). No cache: about a quarter of bpe_encode's speed. */
void bpe_encode_dropout(struct bpe_worker *w, const char *text, size_t len, float p, uint64_t key, uint64_t hi,
                        struct ints *ids);

/* The text of ids (lower-cased, as encoded). Unknown ids give U+FFFD. */
void bpe_decode(const struct bpe *b, const int32_t *ids, size_t n, struct buf *text);

/* Training: add texts, then train. Words are counted, texts are not kept. The merges are those of Hugging Face's
 * trainer (BpeTrainer, ByteLevel alphabet, Lowercase). */
struct bpe_trainer;
struct bpe_trainer *bpe_trainer_new(void);
void bpe_trainer_add(struct bpe_trainer *t, const char *text, size_t len);
/* `vocab` ids in all (256 + merges); fewer when the text has no more pairs. `progress` may be NULL. 0 or -1. */
int bpe_trainer_train(struct bpe_trainer *t, int vocab, void (*progress)(int done, int all), struct bpe **b);
void bpe_trainer_free(struct bpe_trainer **t);

#endif
