/* The rules in order (filter.h). */
#include "filter/filter.h"
#include "common/err.h"
#include "common/image.h"
#include "common/utf8.h"
#include "filter/boilerplate.h"
#include "filter/caption.h"
#include "filter/dedup.h"
#include "filter/language.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MATCHES_LIMIT 120 /* bytes of a reason that tell what was found, and of one phrase in it */

const struct filter_options filter_defaults = {
    .picture = {.aspect_low = 0.5, .aspect_high = 2, .min_side = 1, .max_pixels = IMAGE_MAX_PIXELS},
    .min_words = 3,
    .languages = "en",
};

struct filter {
    struct filter_options options;
    struct rules rules;
    struct boilerplate *boilerplate;
    struct lexicon *lexicon; /* NULL: any language will do */
    struct dedup *dedup;     /* NULL: duplicates may pass */
    struct buf caption;      /* cleaned */
    struct buf found;        /* boilerplate in it */
    struct buf matched;      /* the names of the rules that found it */
    bool *matching;          /* [rules.drop_count]: the rules themselves */
    uint64_t *dropped;       /* [rules.drop_count]: captions that went for want of what the rule took out */
    const char *found_last;  /* class of the last */
    uint64_t asked;          /* captions that CLD2 was asked about */
};

static int open_languages(struct filter *f, const char *languages)
{
    if (strcmp(languages, "any") == 0)
        return 0;
    char *list = xstrdup(languages), *rest = list;
    int result = 0;
    for (char *one = strsep(&rest, ","); one && result == 0; one = strsep(&rest, ","))
        if (!detect_knows(one))
            result = err_set(ERR_USAGE,
                             "--lang: '%s' is no language that can be told; give ISO 639 codes (en,de) or any", one);
    free(list);
    return result < 0 ? -1 : lexicon_open(&f->lexicon, &f->rules, languages);
}

int filter_open(struct filter **filter, const struct filter_options *options)
{
    struct filter *f = *filter = xcalloc(1, sizeof **filter);
    f->options = *options;
    int result = rules_add_default(&f->rules);
    for (size_t i = 0; i < options->rules_file_count && result == 0; i++)
        result = rules_add_file(&f->rules, options->rules_files[i]);
    if (result == 0)
        result = boilerplate_open(&f->boilerplate, &f->rules);
    f->matching = xcalloc(f->rules.drop_count + 1, sizeof *f->matching);
    f->dropped = xcalloc(f->rules.drop_count + 1, sizeof *f->dropped);
    if (result == 0)
        result = open_languages(f, options->languages);
    if (options->dedup)
        f->dedup = dedup_new();
    if (result < 0)
        filter_close(filter);
    return result;
}

void filter_close(struct filter **filter)
{
    struct filter *f = *filter;
    if (!f)
        return;
    boilerplate_close(&f->boilerplate);
    lexicon_close(&f->lexicon);
    dedup_free(&f->dedup);
    rules_free(&f->rules);
    buf_free(&f->caption);
    buf_free(&f->found);
    buf_free(&f->matched);
    free(f->matching);
    free(f->dropped);
    free(f);
    *filter = NULL;
}

static void note_rule(struct filter *f, const char *name)
{
    if (f->matched.len >= MATCHES_LIMIT || (f->matched.len > 0 && strstr(buf_string(&f->matched), name)))
        return;
    buf_printf(&f->matched, "%s%s", f->matched.len ? ", " : "", name);
}

/* Notes "photographed on <date>": phrases as they were found, of other classes the name, once for a range of dates. */
static void note_match(void *arg, const struct boilerplate_match *m)
{
    struct filter *f = arg;
    const char *class = m->rule->class;
    note_rule(f, m->rule->name);
    f->matching[m->rule - f->rules.drops] = true;
    bool phrase = strcmp(class, "phrase") == 0;
    if (f->found.len >= MATCHES_LIMIT || (!phrase && f->found_last && strcmp(class, f->found_last) == 0))
        return;
    buf_append(&f->found, " ", f->found.len > 0);
    if (phrase)
        buf_append(&f->found, f->caption.data + m->start,
                   utf8_cut(f->caption.data + m->start, m->end - m->start, MATCHES_LIMIT));
    else
        buf_printf(&f->found, "<%s>", class);
    f->found_last = class;
}

/* Rejects with "1 word" or "3 letters". */
static void reject_short(struct record *r, const struct word_count *count)
{
    size_t n = count->letters ? count->letters : count->words;
    record_reject(r, "short: %zu %s%s", n, count->letters ? "letter" : "word", n == 1 ? "" : "s");
}

static bool judge_picture(struct filter *f, struct record *r)
{
    int width, height;
    char reason[PICTURE_REASON];
    if (!record_has(r, FIELD_IMAGE)) {
        if (f->options.require_image)
            record_reject(r, "image: none");
        return !f->options.require_image;
    }
    bool good = picture_check(r->image.data, r->image.len, &f->options.picture, &width, &height, reason);
    if (width > 0) {
        record_set_number(r, FIELD_WIDTH, width);
        record_set_number(r, FIELD_HEIGHT, height);
    }
    if (!good)
        record_reject(r, "%s", reason);
    return good;
}

static void judge_caption(struct filter *f, struct record *r)
{
    const char *text = buf_string(&f->caption);
    size_t len = f->caption.len, least = f->options.min_words;
    struct word_count all = {0}, left;
    words_count(&all, text, len);
    if (!words_enough(&all, least)) {
        reject_short(r, &all);
        return;
    }
    f->found.len = f->matched.len = 0;
    f->found_last = NULL;
    memset(f->matching, 0, f->rules.drop_count * sizeof *f->matching);
    boilerplate_take_out(f->boilerplate, text, len, least, &left, note_match, f);
    if (!words_enough(&left, least)) {
        record_reject(r, "boilerplate: %s (%s)", buf_string(&f->found), buf_string(&f->matched));
        for (size_t i = 0; i < f->rules.drop_count; i++)
            f->dropped[i] += f->matching[i];
        return;
    }
    struct language_verdict v;
    if (!f->lexicon)
        return;
    language_judge(f->lexicon, text, len, &v);
    f->asked += v.asked;
    if (!v.accepted)
        record_reject(r, "language: %s", v.name);
}

static void clean(struct filter *f, const struct record *r)
{
    bool some = record_has(r, FIELD_CAPTION) && r->caption.len > 0;
    caption_clean(some ? (const char *)r->caption.data : "", some ? r->caption.len : 0, &f->caption);
}

static int judge_duplicate(struct filter *f, struct record *r)
{
    uint64_t first;
    const struct iovec parts[] = {{buf_string(&f->caption), f->caption.len}, {r->image.data, r->image.len}};
    struct dedup_hash hash = dedup_hash(parts, record_has(r, FIELD_IMAGE) ? 2 : 1);
    int result = dedup_add(f->dedup, hash, r->id, &first);
    if (result == 0)
        record_reject(r, "duplicate: of %" PRIu64, first);
    return result < 0 ? -1 : 0;
}

int filter_record(struct filter *f, struct record *r)
{
    if (!judge_picture(f, r))
        return 0;
    clean(f, r);
    judge_caption(f, r);
    if (f->dedup && !record_has(r, FIELD_REJECT) && judge_duplicate(f, r) < 0)
        return -1;
    if (f->options.clean && record_has(r, FIELD_CAPTION) && !record_has(r, FIELD_REJECT))
        record_set_string(r, FIELD_CAPTION, f->caption.data, f->caption.len);
    return 0;
}

uint64_t filter_asked(const struct filter *f)
{
    return f->asked;
}

void filter_dropped(const struct filter *f, filter_rule_count *each, void *arg)
{
    for (size_t i = 0; i < f->rules.drop_count; i++)
        if (f->dropped[i] > 0)
            each(arg, f->rules.drops[i].name, f->dropped[i]);
}

size_t filter_dedup_bytes(const struct filter *f)
{
    return dedup_bytes(f->dedup);
}

struct explanation {
    const struct filter *filter;
    struct buf *out;
};

static void explain_match(void *arg, const struct boilerplate_match *m)
{
    const struct explanation *e = arg;
    buf_printf(e->out, "  %s: '%.*s' (%s, %s)\n", m->rule->class, (int)(m->end - m->start),
               (const char *)e->filter->caption.data + m->start, m->rule->name, m->rule->where);
}

static void explain_word(void *arg, const char *word, size_t len, int points)
{
    buf_printf(((const struct explanation *)arg)->out, " %.*s %+d", (int)len, word, points);
}

static void explain_language(struct filter *f, struct explanation *e)
{
    struct language_verdict v;
    struct lexicon_score unused;
    const char *text = (const char *)f->caption.data;
    buf_printf(e->out, "  words:");
    lexicon_score(f->lexicon, text, f->caption.len, &unused, explain_word, e);
    language_judge(f->lexicon, text, f->caption.len, &v);
    buf_printf(e->out, "\n  %d of %d points", v.score.points, LEXICON_OWN * v.score.words);
    if (v.asked)
        buf_printf(e->out, ", CLD2 %s %s", v.detected.sure ? "is sure of" : "guesses", v.detected.language);
    buf_printf(e->out, ": %s\n", v.accepted ? "wanted" : v.name);
}

int filter_explain(struct filter *f, struct record *r, struct buf *out)
{
    struct explanation e = {.filter = f, .out = out};
    struct word_count all = {0}, left;
    clean(f, r);
    buf_printf(out, "caption '%s'\n", buf_string(&f->caption));
    words_count(&all, (const char *)f->caption.data, f->caption.len);
    boilerplate_take_out(f->boilerplate, (const char *)f->caption.data, f->caption.len, SIZE_MAX, &left, explain_match,
                         &e);
    buf_printf(out, "  %zu words, %zu beside boilerplate\n", all.words, left.words);
    if (f->lexicon)
        explain_language(f, &e);
    int result = filter_record(f, r);
    if (record_has(r, FIELD_REJECT))
        buf_printf(out, "  rejected: %s\n", buf_string(&r->reject));
    else
        buf_printf(out, "  kept\n");
    return result;
}
