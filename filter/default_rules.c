/* The rules files of this folder, compiled in: the program needs no file beside it. */
#include "common/err.h"
#include "filter/rules.h"

#define EMBED(symbol, file)                                                                                            \
    __asm__(".section .rodata\n" #symbol ":\n.incbin \"" file "\"\n" #symbol "_end:\n.byte 0\n.previous\n");           \
    extern const char symbol[], symbol##_end[]

EMBED(default_rules, "filter/rules");
EMBED(default_languages, "filter/languages");

int rules_add_default(struct rules *r)
{
    if (rules_add_text(r, "filter/rules", default_rules, (size_t)(default_rules_end - default_rules)) < 0)
        return -1;
    return rules_add_text(r, "filter/languages", default_languages,
                          (size_t)(default_languages_end - default_languages));
}
