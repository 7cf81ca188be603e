/*
 * Statistics of letters: the language of a text by CLD2. Safe from several threads.
 */
#ifndef ATELIER_FILTER_DETECT_H
#define ATELIER_FILTER_DETECT_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct detected {
    char language[16]; /* ISO 639, "fr"; "un" when there is not even a guess */
    bool sure;         /* CLD2 calls it reliable; else it is the best guess */
};

/* `text` is valid UTF-8. */
void detect_language(const char *text, size_t len, struct detected *d);

bool detect_knows(const char *language);

#ifdef __cplusplus
}
#endif

#endif
