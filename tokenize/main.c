/*
 * atelier-tokenize: gives each record its caption's tokens, byte-pair encoded as Hugging Face's tokenizers does it;
 * trains such a vocabulary; turns tokens back to text.
 *
 *     atelier-tokenize --train --in text:captions.txt --vocab-size 16384 --vocab bpe.json
 *     atelier-filter ... | atelier-tokenize --vocab bpe.json | atelier-encode ...
 */
#include "common/err.h"
#include "tokenize/tokenize.h"

enum { OPTION_VOCAB = 0x100, OPTION_LENGTH, OPTION_TRAIN, OPTION_SIZE, OPTION_DECODE };

static const struct argp_option options[] = {
    {"vocab", OPTION_VOCAB, "FILE", 0,
     "Vocabulary: Hugging Face's tokenizer.json (byte-level BPE: GPT-2's, RoBERTa's, GPT-4's, Llama 3's, Qwen 2's and "
     "the like), or CLIP's bpe_simple_vocab_16e6.txt.gz; with --train it is written",
     0},
    {"length", OPTION_LENGTH, "T", 0, "Cut captions to T tokens (256); what was cut is counted", 0},
    {"train", OPTION_TRAIN, NULL, 0, "Train a vocabulary from the captions; no records are written", 0},
    {"vocab-size", OPTION_SIZE, "N", 0, "Tokens of the vocabulary to train, the 256 bytes among them (16384)", 0},
    {"decode", OPTION_DECODE, NULL, 0, "Set the caption to the text of the tokens", 0},
    {0},
};

static int option(void *self, int key, const char *arg)
{
    struct tokenize *t = self;
    switch (key) {
    case OPTION_VOCAB:
        t->vocab = arg;
        return 0;
    case OPTION_LENGTH:
        return option_int("length", arg, 1, (int64_t)record_fields[FIELD_TOKENS].limit, &t->length);
    case OPTION_SIZE:
        return option_int("vocab-size", arg, 256, 1 << 24, &t->vocab_size);
    default:
        break;
    }
    if (t->mode != TOKENIZE_ENCODE)
        return err_set(ERR_USAGE, "--train and --decode exclude each other");
    t->mode = key == OPTION_TRAIN ? TOKENIZE_TRAIN : TOKENIZE_DECODE;
    return 0;
}

static bool reads_only(const void *self)
{
    const struct tokenize *t = self;
    return t->mode == TOKENIZE_TRAIN;
}

static const char doc[] =
    "Turn captions into tokens.\v"
    "Sets `tokens` to the ids of the lower-cased caption, at most T of them, and `cut` to how many more there were. "
    "Padding is left to the trainer, which has an embedding of its own for each place behind a caption's end. "
    "Bytes that are no UTF-8 are read as U+FFFD. A caption that spells out an added token of the vocabulary "
    "(<|endoftext|>) becomes that token, as in Hugging Face's tokenizers; vocabularies that are trained here have "
    "none. What a tokenizer.json's post-processor puts around each text is left out.\n"
    "One thread does the work, most of which is reading and writing: --threads changes nothing.";

int main(int argc, char **argv)
{
    struct tokenize self = {.length = 256, .vocab_size = 16384};
    const struct stage stage = {
        .name = "tokenize",
        .doc = doc,
        .options = options,
        .option = option,
        .reads_only = reads_only,
        .start = tokenize_start,
        .process = tokenize_process,
        .finish = tokenize_finish,
        .close = tokenize_close,
    };
    return stage_main(&stage, &self, argc, argv);
}
