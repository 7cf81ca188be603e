/* Language by CLD2 (detect.h). */
#include "filter/detect.h"
#include <climits>
#include <cstdio> // the next one needs it and does not say so
#include <cstring>

#include <cld2/public/compact_lang_det.h>
#include <cld2/public/encodings.h>

/* CLD2 keeps some codes that ISO has replaced. */
static const char *const renamed[][2] = {{"iw", "he"}, {"jw", "jv"}, {"in", "id"}, {"mo", "ro"}};

static void name_language(CLD2::Language language, char name[16])
{
    const char *code = CLD2::LanguageCode(language);
    for (const auto &pair : renamed)
        if (strcmp(code, pair[0]) == 0)
            code = pair[1];
    snprintf(name, 16, "%.*s", (int)strcspn(code, "-"), code); /* zh-Hant is zh */
}

static CLD2::Language ask(const char *text, size_t len, int flags)
{
    const CLD2::CLDHints none = {nullptr, nullptr, CLD2::UNKNOWN_ENCODING, CLD2::UNKNOWN_LANGUAGE};
    CLD2::Language best[3];
    int percent[3], bytes;
    double score[3];
    bool reliable;
    int n = len < INT_MAX ? (int)len : INT_MAX;
    return CLD2::ExtDetectLanguageSummary(text, n, true, &none, flags, best, percent, score, nullptr, &bytes,
                                          &reliable);
}

void detect_language(const char *text, size_t len, struct detected *d)
{
    CLD2::Language language = ask(text, len, 0);
    d->sure = language != CLD2::UNKNOWN_LANGUAGE;
    if (!d->sure)
        language = ask(text, len, CLD2::kCLDFlagBestEffort);
    name_language(language, d->language);
}

bool detect_knows(const char *language)
{
    char name[16];
    for (int i = 0; i < CLD2::NUM_LANGUAGES; i++) {
        name_language((CLD2::Language)i, name);
        if (strcmp(name, language) == 0)
            return true;
    }
    return false;
}
