/*
 * The demo's pictures: Debian's emoji font drawn one emoji at a time, under Unicode's names (DESIGN, "The demo's
 * data").
 */
#ifndef ATELIER_PIPELINES_EMOJI_H
#define ATELIER_PIPELINES_EMOJI_H

#include "common/image.h"

#define EMOJI_TEST_FILE "/usr/share/unicode/emoji/emoji-test.txt"
#define EMOJI_CLDR_DIR "/usr/share/unicode/cldr/common"

struct emoji {
    char *text;     /* the sequence, UTF-8 */
    char *name;     /* "woman firefighter: medium-dark skin tone" */
    char *base;     /* "woman firefighter" */
    char *subgroup; /* "person-role" */
    int tone;       /* 1 (light) .. 5 (dark); 0: no skin tone, or several */
    bool people;    /* one person, of a kind that is drawn with all skin tones */
};

struct emoji_set {
    struct emoji *list;
    int count;
};

/* All fully-qualified emoji of emoji-test.txt, in its order. 0 or -1. */
int emoji_load(struct emoji_set *set);
void emoji_free(struct emoji_set *set);

/* Names in another language: pairs of text and name from CLDR's annotations of `language` ("de"). 0 or -1. */
struct emoji_names {
    char **text, **name;
    int count;
};
int emoji_names_load(struct emoji_names *names, const char *language);
const char *emoji_names_find(const struct emoji_names *names, const char *text); /* NULL: none */
void emoji_names_free(struct emoji_names *names);

/* Draws it on white, size x size. 0, or -1 when the font has no single picture for the sequence. */
int emoji_draw(const char *text, int size, struct image *out);

#endif
