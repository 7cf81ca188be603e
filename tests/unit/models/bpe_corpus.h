/*
 * A small text for tests of byte-pair encoding, and a vocabulary trained on it.
 */
#ifndef ATELIER_TESTS_UNIT_MODELS_BPE_CORPUS_H
#define ATELIER_TESTS_UNIT_MODELS_BPE_CORPUS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/mem.h"
#include "models/bpe.h"
#include <stdlib.h>
#include <string.h>

static const char *const corpus[] = {
    "A man in a red shirt is standing on a ladder, cleaning a window.",
    "Two dogs are running in the sand; the third dog isn't.",
    "The women's team won 3-2, and they'll be playing again in 2024!",
    "Ein Mann mit einem roten Hemd steht auf einer Leiter \u2014 \u00dcbung macht den Meister.",
    "  two   spaces\tand tabs\n\nand lines  ",
    "\u041a\u0440\u0430\u0441\u043d\u0430\u044f \u043f\u043b\u043e\u0449\u0430\u0434\u044c",
    "\u732b\u304c\u5bdd\u3066\u3044\u308b \U0001F600\U0001F600 \u00bd\u2167\u0664",
    "banana bandana banana cabana bananas",
};
enum { CORPUS = sizeof(corpus) / sizeof(corpus[0]) };

static inline struct bpe *train_corpus(int vocab)
{
    struct bpe_trainer *t = bpe_trainer_new();
    struct bpe *b;
    for (int i = 0; i < CORPUS; i++)
        bpe_trainer_add(t, corpus[i], strlen(corpus[i]));
    assert_int_equal(bpe_trainer_train(t, vocab, NULL, &b), 0);
    bpe_trainer_free(&t);
    return b;
}

#endif
