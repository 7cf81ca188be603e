/* Boilerplate (boilerplate.h). */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "filter/boilerplate.h"
#include "common/err.h"
#include <pcre2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MATCH_LIMIT 200000u /* steps of one try, so that a user's pattern that backtracks for ever just fails */
#define JIT_STACK (1u << 20)

/* Runs that begin no match whatever comes behind them, as nearly all words do: remembered, so that the rules are tried
 * on a word once and not each time. */
#define MEMO_SLOTS 4096 /* a power of two */
struct plain_run {
    char text[16]; /* "": free; without NUL when all bytes are used */
};

struct boilerplate {
    struct plain_run memo[MEMO_SLOTS];
    const struct rules *rules;
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

/* A rule ends where a word ends; scripts without spaces mark no such place. */
static const char word_end[] = "(?!(?![\\p{Han}\\p{Hangul}\\p{Hiragana}\\p{Katakana}\\p{Thai}])[\\p{L}\\p{N}])";

static pcre2_code *compile(const char *pattern, size_t len, const struct rule *rule)
{
    int code;
    PCRE2_SIZE at;
    PCRE2_UCHAR why[160];
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_CASELESS | PCRE2_ANCHORED;
    pcre2_code *c = pcre2_compile((PCRE2_SPTR)pattern, len, options, &code, &at, NULL);
    if (c)
        return c;
    if (code == PCRE2_ERROR_HEAP_FAILED)
        mem_gone(len);
    pcre2_get_error_message(code, why, sizeof why);
    err_set(ERR_DATA, "%s: '%s': %s, near '%.*s'", rule->where, rule->name, (const char *)why,
            (int)(len - at < 20 ? len - at : 20), pattern + at);
    return NULL;
}

/* Appends a rule between `open` and `close`, after it was compiled alone: a bracket too many would otherwise reach into
 * its neighbours. */
static int add_rule(const struct rules *rules, const struct rule *rule, const char *open, const char *close,
                    struct buf *all)
{
    struct buf one = {0};
    pcre2_code *alone = NULL;
    if (rules_expand(rules, rule, true, &one) == 0)
        alone = compile(buf_string(&one), one.len, rule);
    buf_free(&one);
    pcre2_code_free(alone);
    if (!alone)
        return -1;
    buf_printf(all, "%s", open);
    rules_expand(rules, rule, false, all);
    buf_printf(all, "%s", close);
    return 0;
}

/* One regular expression: the parts as groups to be called, then the rules as alternatives, each of which leaves its
 * number as the mark. */
static int join(const struct rules *rules, struct buf *all)
{
    char open[80], close[32];
    for (size_t i = 0; i < rules->part_count; i++) {
        snprintf(open, sizeof open, "%s(?<%s>", i ? "" : "(?(DEFINE)", rules->parts[i].name);
        if (add_rule(rules, &rules->parts[i], open, i + 1 < rules->part_count ? ")" : "))", all) < 0)
            return -1;
    }
    for (size_t i = 0; i < rules->drop_count; i++) {
        snprintf(close, sizeof close, ")(*:%zu)", i);
        if (add_rule(rules, &rules->drops[i], i ? "|(?:" : "(?:(?:", close, all) < 0)
            return -1;
    }
    if (rules->drop_count == 0)
        buf_printf(all, "(?:(*FAIL)");
    buf_printf(all, ")%s", word_end);
    return 0;
}

int boilerplate_open(struct boilerplate **b, const struct rules *rules)
{
    struct buf all = {0};
    *b = xcalloc(1, sizeof **b);
    (*b)->rules = rules;
    const struct rule whole = {.where = (char[]){"all rules"}, .name = (char[]){"together"}};
    if (join(rules, &all) == 0)
        (*b)->code = compile(buf_string(&all), all.len, &whole);
    buf_free(&all);
    if (!(*b)->code) {
        boilerplate_close(b);
        return -1;
    }
    /* Where the JIT compiler is not to be had, the interpreter gives the same answers. */
    (void)pcre2_jit_compile((*b)->code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD);
    (*b)->match = pcre2_match_data_create_from_pattern((*b)->code, NULL);
    (*b)->context = pcre2_match_context_create(NULL);
    (*b)->stack = pcre2_jit_stack_create(JIT_STACK / 16, JIT_STACK, NULL);
    if (!(*b)->match || !(*b)->context) {
        boilerplate_close(b);
        return err_set(ERR_AGAIN, "out of memory for the boilerplate rules");
    }
    pcre2_set_match_limit((*b)->context, MATCH_LIMIT);
    pcre2_jit_stack_assign((*b)->context, NULL, (*b)->stack);
    return 0;
}

void boilerplate_close(struct boilerplate **b)
{
    if (!*b)
        return;
    pcre2_jit_stack_free((*b)->stack);
    pcre2_match_context_free((*b)->context);
    pcre2_match_data_free((*b)->match);
    pcre2_code_free((*b)->code);
    free(*b);
    *b = NULL;
}

/* The end of the match at `at`, 0: none; with PCRE2_PARTIAL_HARD, SIZE_MAX: more text could make one. */
static size_t match_at(struct boilerplate *b, const char *text, size_t len, size_t at, uint32_t partial,
                       const struct rule **rule)
{
    int n = pcre2_match(b->code, (PCRE2_SPTR)text, len, at, PCRE2_NO_UTF_CHECK | partial, b->match, b->context);
    if (n == PCRE2_ERROR_NOMEMORY)
        mem_gone(len);
    if (n == PCRE2_ERROR_PARTIAL)
        return SIZE_MAX;
    PCRE2_SPTR mark = n < 0 ? NULL : pcre2_get_mark(b->match);
    if (!mark)
        return 0;
    *rule = &b->rules->drops[strtoul((const char *)mark, NULL, 10)];
    size_t end = pcre2_get_ovector_pointer(b->match)[1];
    return end > at ? end : 0;
}

/* The match that begins the run of text up to the next space, behind any punctuation: its end, with its start in *from;
 * 0: none. */
static size_t match_run(struct boilerplate *b, const char *text, size_t len, size_t *from, uint32_t partial,
                        const struct rule **rule)
{
    int bytes;
    for (size_t at = *from; at < len && text[at] != ' '; at += (size_t)bytes) {
        uint32_t c = words_char(text + at, len - at, &bytes);
        size_t end = match_at(b, text, len, at, partial, rule);
        if (end) {
            *from = at;
            return end;
        }
        if (words_is_letter(c) || words_is_digit(c))
            return 0;
    }
    return 0;
}

/* Whether a run that a space follows begins no match. False: it may begin one. */
static bool is_plain(struct boilerplate *b, const char *run, size_t len)
{
    char text[sizeof b->memo[0].text + 1] = "";
    if (len > sizeof b->memo[0].text)
        return false;
    memcpy(text, run, len);
    uint64_t low, high;
    memcpy(&low, text, 8);
    memcpy(&high, text + 8, 8);
    uint64_t hash = (low ^ high * 0x9E3779B97F4A7C15u) * 0xD6E8FEB86659FD93u;
    struct plain_run *slot = &b->memo[hash >> 52];
    if (memcmp(slot->text, text, sizeof slot->text) == 0)
        return true;
    const struct rule *rule;
    size_t from = 0;
    text[len] = ' ';
    if (match_run(b, text, len + 1, &from, PCRE2_PARTIAL_HARD, &rule))
        return false;
    text[len] = 0;
    memcpy(slot->text, text, sizeof slot->text);
    return true;
}

void boilerplate_take_out(struct boilerplate *b, const char *text, size_t len, size_t least, struct word_count *left,
                          boilerplate_found *found, void *arg)
{
    *left = (struct word_count){0};
    for (size_t i = 0; i < len && !words_enough(left, least);) {
        const char *space = memchr(text + i, ' ', len - i);
        size_t end = space ? (size_t)(space - text) : len;
        struct boilerplate_match m = {.start = i};
        if (end > i && !(space && is_plain(b, text + i, end - i)))
            m.end = match_run(b, text, len, &m.start, 0, &m.rule);
        if (m.end) {
            if (found)
                found(arg, &m);
            i = m.end;
            continue;
        }
        words_count(left, text + i, end - i);
        i = end + 1;
    }
}
