/* The rules files of this folder, compiled in: the program needs no file beside it. */
#include "common/err.h"
#include "filter/rules.h"

#define EMBED(symbol, file)                                                                                            \
    __asm__(".section .rodata\n" #symbol ":\n.incbin \"" file "\"\n" #symbol "_end:\n.byte 0\n.previous\n");           \
    extern const char symbol[], symbol##_end[]

EMBED(boilerplate_rules, "filter/boilerplate.rules");
EMBED(language_rules, "filter/language.rules");

int rules_add_default(struct rules *r)
{
    size_t boilerplate = (size_t)(boilerplate_rules_end - boilerplate_rules);
    size_t language = (size_t)(language_rules_end - language_rules);
    if (rules_add_text(r, "filter/boilerplate.rules", boilerplate_rules, boilerplate) < 0)
        return -1;
    return rules_add_text(r, "filter/language.rules", language_rules, language);
}
