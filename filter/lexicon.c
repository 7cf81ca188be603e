/* Word lists (lexicon.h). */
#include "filter/lexicon.h"
#include "common/err.h"
#include "filter/words.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define WORD_LIMIT 96 /* bytes; what is longer is in no list */
#define SHARED 1      /* points of a word that other languages have too */
#define FOREIGN (-2)  /* of one that only others have, or that is spelled with letters of others */
#define STEM_LEAST 3  /* bytes left of a word when its ending is taken off */

#define ALPHABET_END 0x600 /* Latin, Greek, Cyrillic, Armenian */

/* Bits are languages. */
struct entry {
    char *word; /* NULL: free */
    uint32_t hash, len;
    uint64_t own, shared, article, begins;
};

struct ending {
    char *take;
    const char *put; /* in `take`, behind its NUL */
    size_t take_len, put_len;
    uint64_t languages;
};

struct alphabet {
    uint8_t bits[ALPHABET_END / 8];
};

struct lexicon {
    char names[LEXICON_LANGUAGES][16];
    int languages;
    uint64_t accepted;
    struct entry *entries; /* open addressing */
    size_t mask, used;
    struct ending *endings;
    size_t ending_count;
    struct lexicon_thresholds thresholds[LEXICON_LANGUAGES];
    uint64_t with_thresholds;
    struct alphabet alphabets[LEXICON_LANGUAGES];
    uint64_t with_alphabet;
    struct alphabet *alphabet; /* letters of all accepted languages; NULL: one of them has no alphabet */
};

/* The language's number, a new one where it is seen first; -1 with an error. */
static int language_number(struct lexicon *x, const char *name, size_t len, const char *where)
{
    for (int i = 0; i < x->languages; i++)
        if (strncmp(x->names[i], name, len) == 0 && x->names[i][len] == 0)
            return i;
    if (len == 0 || len >= sizeof x->names[0])
        return err_set(ERR_DATA, "%s: '%.*s' is no language code", where, (int)len, name);
    if (x->languages == LEXICON_LANGUAGES)
        return err_set(ERR_DATA, "%s: more than %d languages", where, LEXICON_LANGUAGES);
    memcpy(x->names[x->languages], name, len);
    return x->languages++;
}

static uint32_t hash(const char *word, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)word[i]) * 0x100000001b3u;
    return (uint32_t)(h ^ h >> 32);
}

/* The word's entry, or the free one where it belongs. */
static struct entry *find(const struct lexicon *x, const char *word, size_t len)
{
    uint32_t h = hash(word, len);
    size_t i = h & x->mask;
    for (;; i = (i + 1) & x->mask) {
        struct entry *e = &x->entries[i];
        if (!e->word || (e->hash == h && e->len == len && memcmp(e->word, word, len) == 0))
            return e;
    }
}

static void grow(struct lexicon *x)
{
    struct entry *old = x->entries;
    size_t count = old ? x->mask + 1 : 0;
    x->mask = old ? 2 * count - 1 : 1023;
    x->entries = xcalloc(x->mask + 1, sizeof *x->entries);
    for (size_t i = 0; i < count; i++)
        if (old[i].word)
            *find(x, old[i].word, old[i].len) = old[i];
    free(old);
}

static int add_word(struct lexicon *x, const struct rule_list *list, uint64_t language, const char *word, size_t len)
{
    if (len > WORD_LIMIT)
        return err_set(ERR_DATA, "%s: a word of %zu bytes, limit %d", list->where, len, WORD_LIMIT);
    if (x->used * 2 >= x->mask)
        grow(x);
    struct entry *e = find(x, word, len);
    if (!e->word) {
        e->word = xasprintf("%.*s", (int)len, word);
        e->hash = hash(word, len);
        e->len = (uint32_t)len;
        x->used++;
    }
    if (list->kind[0] == 'w')
        e->own |= language;
    else if (list->kind[0] == 's')
        e->shared |= language;
    else if (list->kind[0] == 'a')
        e->article |= language;
    else
        e->begins |= language;
    return 0;
}

static void add_ending(struct lexicon *x, uint64_t language, const char *text, size_t len)
{
    x->endings = xrealloc(x->endings, (x->ending_count + 1) * sizeof *x->endings);
    struct ending *e = &x->endings[x->ending_count++];
    e->take = xasprintf("%.*s", (int)len, text);
    e->put = e->take + len;
    e->languages = language;
    char *slash = strchr(e->take, '/');
    if (slash) {
        *slash = 0;
        e->put = slash + 1;
    }
    e->take_len = strlen(e->take);
    e->put_len = strlen(e->put);
}

static void add_letters(struct alphabet *a, const char *text, size_t len)
{
    int bytes;
    for (size_t i = 0; i < len; i += (size_t)bytes) {
        uint32_t c = words_char(text + i, len - i, &bytes);
        if (c < ALPHABET_END)
            a->bits[c / 8] |= (uint8_t)(1u << c % 8);
    }
}

static int add_thresholds(struct lexicon *x, const struct rule_list *list, int language, const char *text)
{
    struct lexicon_thresholds *t = &x->thresholds[language];
    int used = 0;
    if (sscanf(text, "%d %d %d %d %n", &t->plain, &t->guess, &t->sure, &t->sure_far, &used) != 4 || text[used])
        return err_set(ERR_DATA, "%s: expected four whole numbers, in percent", list->where);
    x->with_thresholds |= (uint64_t)1 << language;
    return 0;
}

static int add_list(struct lexicon *x, const struct rule_list *list)
{
    int language = language_number(x, list->language, strlen(list->language), list->where);
    if (language < 0)
        return -1;
    uint64_t bit = (uint64_t)1 << language;
    const char *text = list->text.len ? (const char *)list->text.data : "";
    if (strcmp(list->kind, "thresholds") == 0) {
        char *numbers = xasprintf("%.*s", (int)list->text.len, text);
        int result = add_thresholds(x, list, language, numbers);
        free(numbers);
        return result;
    }
    for (size_t i = 0, n; i < list->text.len; i += n + 1) {
        for (n = 0; i + n < list->text.len && text[i + n] != ' ' && text[i + n] != '\t' && text[i + n] != '\n';)
            n++;
        if (n == 0)
            continue;
        if (strcmp(list->kind, "endings") == 0)
            add_ending(x, bit, text + i, n);
        else if (strcmp(list->kind, "alphabet") == 0)
            add_letters(&x->alphabets[language], text + i, n);
        else if (add_word(x, list, bit, text + i, n) < 0)
            return -1;
    }
    if (strcmp(list->kind, "alphabet") == 0)
        x->with_alphabet |= bit;
    return 0;
}

/* "en,de": they become the first languages. */
static int read_accepted(struct lexicon *x, const char *accepted)
{
    for (const char *p = accepted;; p++) {
        size_t n = strcspn(p, ",");
        int language = language_number(x, p, n, "--lang");
        if (language < 0)
            return -1;
        x->accepted |= (uint64_t)1 << language;
        p += n;
        if (!*p)
            return 0;
    }
}

int lexicon_open(struct lexicon **lexicon, const struct rules *rules, const char *accepted)
{
    struct lexicon *x = *lexicon = xcalloc(1, sizeof *x);
    int result = read_accepted(x, accepted);
    grow(x);
    for (size_t i = 0; i < rules->list_count && result == 0; i++)
        result = add_list(x, &rules->lists[i]);
    if (result < 0) {
        lexicon_close(lexicon);
        return -1;
    }
    if ((x->with_alphabet & x->accepted) == x->accepted) {
        x->alphabet = xcalloc(1, sizeof *x->alphabet);
        for (int i = 0; i < x->languages; i++)
            for (size_t k = 0; x->accepted >> i & 1 && k < sizeof x->alphabet->bits; k++)
                x->alphabet->bits[k] |= x->alphabets[i].bits[k];
    }
    return 0;
}

void lexicon_close(struct lexicon **lexicon)
{
    struct lexicon *x = *lexicon;
    if (!x)
        return;
    for (size_t i = 0; x->entries && i <= x->mask; i++)
        free(x->entries[i].word);
    for (size_t i = 0; i < x->ending_count; i++)
        free(x->endings[i].take);
    free(x->entries);
    free(x->endings);
    free(x->alphabet);
    free(x);
    *lexicon = NULL;
}

bool lexicon_accepts(const struct lexicon *x, const char *language)
{
    for (int i = 0; i < x->languages; i++)
        if (x->accepted >> i & 1 && strcmp(x->names[i], language) == 0)
            return true;
    return false;
}

bool lexicon_begins(const struct lexicon *x, const struct lexicon_score *score, const char *language)
{
    for (int i = 0; i < x->languages; i++)
        if (score->begins >> i & 1 && strcmp(x->names[i], language) == 0)
            return true;
    return false;
}

const struct lexicon_thresholds *lexicon_thresholds(const struct lexicon *x, const char *language)
{
    uint64_t have = x->accepted & x->with_thresholds;
    for (int i = 0; i < x->languages; i++)
        if (have >> i & 1 && (!language || strcmp(x->names[i], language) == 0))
            return &x->thresholds[i];
    return NULL;
}

/* A word as it is looked up. */
struct word {
    char text[WORD_LIMIT + 8];
    size_t len;
    bool foreign_letter; /* one that no accepted language writes */
    bool capital;        /* at its beginning */
    bool hyphen;
    bool too_long;
};

static void add_char(const struct lexicon *x, struct word *w, uint32_t c)
{
    uint32_t written = c;
    if (c >= 0x80)
        c = c == 0x2019 ? '\'' : (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
    else if (c - 'A' < 26)
        c |= 32;
    if (w->len == 0)
        w->capital = c != written;
    if (x->alphabet && c != '\'' && c != '-' && (c >= ALPHABET_END || !(x->alphabet->bits[c / 8] >> c % 8 & 1)))
        w->foreign_letter = true;
    w->hyphen = w->hyphen || c == '-';
    if (w->len >= WORD_LIMIT)
        w->too_long = true;
    else if (c < 0x80)
        w->text[w->len++] = (char)c;
    else
        w->len += (size_t)utf8proc_encode_char((utf8proc_int32_t)c, (utf8proc_uint8_t *)w->text + w->len);
}

static bool is_mark(uint32_t c)
{
    return c >= 0x300 && utf8proc_category((utf8proc_int32_t)c) >= UTF8PROC_CATEGORY_MN &&
           utf8proc_category((utf8proc_int32_t)c) <= UTF8PROC_CATEGORY_ME;
}

/* Where the next word begins, from text[i] on. Latin letters on a number ("1st", "3D") are none. */
static size_t word_start(const char *text, size_t len, size_t i)
{
    bool number = false;
    for (int bytes; i < len; i += (size_t)bytes) {
        uint32_t c = words_char(text + i, len - i, &bytes);
        bool letter = words_is_letter(c);
        number = number && c < 0x80;
        if (letter && !number)
            break;
        number = letter ? number : words_is_digit(c);
    }
    return i;
}

/* Reads the next word from text[*at] on: letters, with apostrophes and hyphens between letters. False at the end. */
static bool next_word(const struct lexicon *x, const char *text, size_t len, size_t *at, struct word *w)
{
    int bytes;
    size_t i = word_start(text, len, *at);
    w->len = 0;
    w->foreign_letter = w->capital = w->hyphen = w->too_long = false;
    for (bool inside = i < len; inside && i < len; i += inside ? (size_t)bytes : 0) {
        uint32_t c = words_char(text + i, len - i, &bytes);
        inside = words_is_letter(c) || is_mark(c);
        if (c == '\'' || c == '-' || c == 0x2019) {
            size_t next = i + (size_t)bytes;
            int unused;
            inside = next < len && words_is_letter(words_char(text + next, len - next, &unused));
        }
        if (inside)
            add_char(x, w, c);
    }
    *at = i;
    return w->len > 0;
}

static int entry_points(const struct lexicon *x, const struct entry *e)
{
    if (e->own & x->accepted)
        return e->own & ~x->accepted ? SHARED : LEXICON_OWN;
    if (e->shared & x->accepted)
        return SHARED;
    return e->own ? FOREIGN : 0;
}

/* The points of a word that is listed without one of the endings; 0: it is not. */
static int stem_points(const struct lexicon *x, const struct word *w)
{
    int best = 0;
    for (size_t i = 0; i < x->ending_count && best < LEXICON_OWN; i++) {
        const struct ending *e = &x->endings[i];
        size_t take = e->take_len, put = e->put_len;
        if (!(e->languages & x->accepted) || w->len < take + STEM_LEAST || put > take ||
            memcmp(w->text + w->len - take, e->take, take) != 0)
            continue;
        char stem[WORD_LIMIT + 8];
        size_t n = w->len - take;
        memcpy(stem, w->text, n);
        memcpy(stem + n, e->put, put);
        int points = entry_points(x, find(x, stem, n + put));
        if (points <= 0 && put == 0 && n > STEM_LEAST && stem[n - 1] == stem[n - 2])
            points = entry_points(x, find(x, stem, n - 1)); /* "running", run */
        best = points > best ? points : best;
    }
    return best;
}

/* A compound that is not listed is as good as its weakest part. */
static int compound_points(const struct lexicon *x, const struct word *w)
{
    int least = LEXICON_OWN;
    for (size_t i = 0; i < w->len;) {
        struct word part = {0};
        for (; i < w->len && w->text[i] != '-'; i++)
            part.text[part.len++] = w->text[i];
        i++;
        const struct entry *e = find(x, part.text, part.len);
        int points = e->word ? entry_points(x, e) : stem_points(x, &part);
        least = points < least ? points : least;
    }
    return least;
}

static int word_points(const struct lexicon *x, const struct word *w, int *hits, struct lexicon_score *score)
{
    bool first = score->words == 0;
    if (w->too_long)
        return w->foreign_letter ? FOREIGN : 0;
    const struct entry *e = find(x, w->text, w->len);
    if (e->word) {
        if (first) {
            score->article = e->article & x->accepted;
            score->begins = e->begins;
        }
        for (int i = 0; i < x->languages && e->own & ~x->accepted; i++)
            hits[i] += e->own >> i & 1;
        return first && e->article & x->accepted ? LEXICON_OWN : entry_points(x, e);
    }
    if (w->foreign_letter)
        return w->capital && !first ? 0 : FOREIGN; /* names keep their spelling: "a street in Malmö" */
    return w->hyphen ? compound_points(x, w) : stem_points(x, w);
}

void lexicon_score(const struct lexicon *x, const char *text, size_t len, struct lexicon_score *score,
                   lexicon_word *each, void *arg)
{
    struct word w;
    int hits[LEXICON_LANGUAGES] = {0}, best = 0;
    *score = (struct lexicon_score){0};
    for (size_t at = 0; next_word(x, text, len, &at, &w); score->words++) {
        int points = word_points(x, &w, hits, score);
        score->points += points;
        score->foreign += points < 0;
        if (each)
            each(arg, w.text, w.len, points);
    }
    for (int i = 0; i < x->languages; i++) {
        if (x->accepted >> i & 1 || hits[i] <= best)
            continue;
        best = hits[i];
        memcpy(score->language, x->names[i], sizeof score->language);
    }
}
