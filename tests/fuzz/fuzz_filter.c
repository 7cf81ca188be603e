/*
 * libFuzzer: what the filter reads from outside. By its first bytes the input is a picture (JPEG or PNG), a rules file
 * ('#' or '['), which is then used on itself, or a caption that goes through all rules.
 */
#include "common/utf8.h"
#include "filter/boilerplate.h"
#include "filter/caption.h"
#include "filter/filter.h"
#include "filter/rules.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_picture(const uint8_t *data, size_t size)
{
    struct picture_limits limits = filter_defaults.picture;
    char reason[PICTURE_REASON];
    int width, height;
    limits.max_pixels = 1 << 20;
    bool whole = picture_check(data, size, &limits, &width, &height, reason);
    limits.decode = true;
    bool decodes = picture_check(data, size, &limits, &width, &height, reason);
    if ((decodes && !whole) || (whole && (width < 1 || height < 1)))
        abort();
}

static void use_rules(const char *text, size_t len)
{
    struct rules rules = {0};
    struct boilerplate *b;
    len = len < 4096 ? len : 4096; /* compiling takes its time */
    if (rules_add_text(&rules, "fuzz", text, len) == 0 && boilerplate_open(&b, &rules) == 0) {
        struct buf clean = {0};
        struct word_count all = {0}, left;
        caption_clean(text, len, &clean);
        words_count(&all, buf_string(&clean), clean.len);
        boilerplate_take_out(b, buf_string(&clean), clean.len, SIZE_MAX, &left, NULL, NULL);
        if (left.words > all.words)
            abort();
        boilerplate_close(&b);
        buf_free(&clean);
    }
    rules_free(&rules);
}

static void filter_caption(const uint8_t *data, size_t size)
{
    static struct filter *f;
    struct filter_options o = filter_defaults;
    struct record r = {0}, again = {0};
    struct buf explained = {0};
    o.clean = true;
    if (!f && filter_open(&f, &o) < 0)
        abort();
    record_set_string(&r, FIELD_CAPTION, data, size);
    record_copy(&again, &r);
    if (filter_record(f, &r) < 0 || filter_explain(f, &again, &explained) < 0)
        abort();
    if (record_has(&r, FIELD_REJECT) != record_has(&again, FIELD_REJECT) || !r.caption.len != !again.caption.len)
        abort();
    if (!record_has(&r, FIELD_REJECT) && !utf8_is_valid(r.caption.data, r.caption.len))
        abort();
    buf_free(&explained);
    record_free(&r);
    record_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0 && (data[0] == 0xFF || data[0] == 0x89))
        check_picture(data, size);
    else if (size > 0 && (data[0] == '#' || data[0] == '['))
        use_rules((const char *)data, size);
    else
        filter_caption(data, size);
    return 0;
}
