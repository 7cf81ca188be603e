/* Judgement of a caption's language (language.h). */
#include "filter/language.h"
#include <string.h>

#define FAR 6 /* words from which CLD2's certainty is worth more */

static bool decide(const struct lexicon *x, const char *text, size_t len, struct language_verdict *v)
{
    const struct lexicon_thresholds *t = lexicon_thresholds(x, NULL);
    int words = v->score.words, percent = words ? 100 * v->score.points / (LEXICON_OWN * words) : 0;
    if (words == 0 || (t && percent >= t->plain)) /* digits alone are of no language */
        return true;
    v->asked = true;
    detect_language(text, len, &v->detected);
    bool accepts = lexicon_accepts(x, v->detected.language), known = strcmp(v->detected.language, "un") != 0;
    /* "a shiba inu" is English: the language that CLD2 finds there begins no caption so. */
    if (v->score.article && v->score.foreign == 0 && known &&
        (accepts || !lexicon_begins(x, &v->score, v->detected.language)))
        return true;
    if (!accepts)
        return false;
    t = lexicon_thresholds(x, v->detected.language);
    return percent >= (!t ? 0 : !v->detected.sure ? t->guess : words < FAR ? t->sure : t->sure_far);
}

void language_judge(const struct lexicon *x, const char *text, size_t len, struct language_verdict *v)
{
    v->asked = false;
    lexicon_score(x, text, len, &v->score, NULL, NULL);
    v->accepted = decide(x, text, len, v);
    v->name = NULL;
    if (v->accepted)
        return;
    if (strcmp(v->detected.language, "un") != 0 && !lexicon_accepts(x, v->detected.language))
        v->name = v->detected.language;
    else
        v->name = v->score.language[0] ? v->score.language : "unknown";
}
