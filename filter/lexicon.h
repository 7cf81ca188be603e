/*
 * What the words of a caption say about its language: the word lists of the rules files in one hash table, and a score
 * for the languages that are accepted. It needs few words, where statistics of letters need many.
 */
#ifndef ATELIER_FILTER_LEXICON_H
#define ATELIER_FILTER_LEXICON_H

#include "filter/rules.h"
#include <stdbool.h>
#include <stdint.h>

#define LEXICON_LANGUAGES 64

/* Thresholds of a language, in percent of the best score that a caption of its length can have ([thresholds LANGUAGE],
 * in this order). */
struct lexicon_thresholds {
    int plain;    /* from here the words alone tell */
    int guess;    /* from here a guess of the statistics is enough */
    int sure;     /* from here their certainty is enough */
    int sure_far; /* the same for captions of six words or more */
};

struct lexicon;

/* `accepted`: "en" or "en,de". 0, or -1 with an error. */
int lexicon_open(struct lexicon **x, const struct rules *rules, const char *accepted);
void lexicon_close(struct lexicon **x);

bool lexicon_accepts(const struct lexicon *x, const char *language);
/* Those of an accepted language; of the first that has any where `language` is NULL. NULL: it has none. */
const struct lexicon_thresholds *lexicon_thresholds(const struct lexicon *x, const char *language);

struct lexicon_score {
    int words;         /* runs of letters, with inner apostrophes and hyphens */
    int points;        /* LEXICON_OWN a word of the accepted languages at best */
    int foreign;       /* words that count against the caption */
    bool article;      /* of an accepted language at the beginning */
    uint64_t begins;   /* other languages whose captions begin with that word; for lexicon_begins */
    char language[16]; /* whose words it has most, of those not accepted; "": none */
};
#define LEXICON_OWN 2

/* Whether captions of the language, which is not accepted, begin with the first word too. */
bool lexicon_begins(const struct lexicon *x, const struct lexicon_score *score, const char *language);

/* Called for each word with its points. */
typedef void lexicon_word(void *arg, const char *word, size_t len, int points);

/* Scores a cleaned caption. `each` may be NULL. */
void lexicon_score(const struct lexicon *x, const char *text, size_t len, struct lexicon_score *score,
                   lexicon_word *each, void *arg);

#endif
