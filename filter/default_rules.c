/* The rules files of this folder, compiled in: the program needs no file beside it. */
#include "filter/rules.h"
#include <string.h>

__asm__(".section .rodata\n"
        "boilerplate_rules: .incbin \"filter/boilerplate.rules\"\n"
        ".byte 0\n"
        "language_rules: .incbin \"filter/language.rules\"\n"
        ".byte 0\n"
        ".previous\n");
extern const char boilerplate_rules[], language_rules[];

int rules_add_default(struct rules *r)
{
    if (rules_add_text(r, "filter/boilerplate.rules", boilerplate_rules, strlen(boilerplate_rules)) < 0)
        return -1;
    return rules_add_text(r, "filter/language.rules", language_rules, strlen(language_rules));
}
