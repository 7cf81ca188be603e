/*
 * atelier-filter: drops captioned pictures that would teach a model nothing.
 * See --help, filter/filter.h for the rules, filter/boilerplate.rules and filter/language.rules for their data.
 */
#include "common/err.h"
#include "common/stage.h"
#include "filter/filter.h"
#include "filter/sample.h"
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEY_LANG = 1,
    KEY_MIN_WORDS,
    KEY_ASPECT,
    KEY_MIN_SIDE,
    KEY_MAX_PIXELS,
    KEY_DECODE,
    KEY_REQUIRE,
    KEY_CLEAN,
    KEY_RULES,
    KEY_DEDUP,
    KEY_SAMPLE,
    KEY_EXPLAIN
};

static const struct argp_option options[] = {
    {"lang", KEY_LANG, "CODE,...|any", 0, "Languages to keep, ISO 639 (default: en)", 0},
    {"min-words", KEY_MIN_WORDS, "N", 0, "Fewest words of a caption, boilerplate not counted (default: 3)", 0},
    {"aspect", KEY_ASPECT, "LOW:HIGH", 0, "Limits of width / height (default: 1/2:2)", 0},
    {"min-side", KEY_MIN_SIDE, "PIXELS", 0, "Least width and height (default: 1)", 0},
    {"max-pixels", KEY_MAX_PIXELS, "N", 0, "Most pixels of a picture (default: 268435456)", 0},
    {"decode", KEY_DECODE, NULL, 0, "Decode each picture; without, its header and structure are checked", 0},
    {"require-image", KEY_REQUIRE, NULL, 0, "Reject records that have no picture", 0},
    {"clean", KEY_CLEAN, NULL, 0, "Pass captions on cleaned, as the rules see them", 0},
    {"rules", KEY_RULES, "FILE", 0, "Add the rules and words of FILE (again for more files)", 0},
    {"dedup", KEY_DEDUP, "exact", 0, "Reject what was kept before, by cleaned caption and bytes of the picture", 0},
    {"sample", KEY_SAMPLE, "N", 0, "Show N of the kept and N of the rejected records, drawn at random, at the end", 0},
    {"explain", KEY_EXPLAIN, NULL, 0, "Print how each verdict comes about, and write no records", 0},
    {0},
};

static const char doc[] =
    "Drops captioned pictures that would teach a model nothing."
    "\vThe first rule that fails names the reason: image, aspect, short, boilerplate, language, duplicate.\n"
    "\n"
    "image: no JPEG or PNG, over the limits, or cut short. Structure is read from the first marker to the end mark "
    "without decoding; damage within a scan shows only with --decode, and encode, which decodes all pictures anyway, "
    "rejects it for the same reason. Records without a picture (--in text:FILE) pass unless --require-image.\n"
    "short: a word has a letter or a digit; of scripts without spaces one letter more than --min-words is enough. "
    "Words are counted after character entities, markup, URL-encoding and white space were cleaned and the text was "
    "brought to NFKC; a missing caption has none.\n"
    "boilerplate: dates, names of files and stock phrases are taken out, and too few words are left.\n"
    "language: word lists, and CLD2 where they leave a doubt.\n"
    "duplicate: with --dedup exact; the first is kept, and of several filters each knows its own records alone. Takes "
    "30 to 38 bytes of memory a kept record, 10 GB for 250 million; the statistics say how much.\n"
    "--dry-run counts each language and each boilerplate rule too; several rules can have a part in dropping a "
    "caption.\n"
    "One thread does the work: --threads changes nothing.\n"
    "\n"
    "Examples:\n"
    "  atelier filter --in 'tar:cc/{000..331}.tar' --rejects why.jsonl | atelier tokenize ...\n"
    "  atelier filter --in 'tsv:yfcc.tsv#caption=title,description&image=path' --dry-run --sample 20\n"
    "  echo 'photographed on 8 July 2008' | atelier filter --in text:- --explain";

struct settings {
    struct filter_options filter;
    bool explain;
    struct filter *f;
    struct sample sample;
    struct buf text;
};

/* "0.5" or "1/2", up to `stop`. */
static int read_ratio(const char *arg, char stop, double *value, const char **end)
{
    char *at;
    double over = 1;
    *value = strtod(arg, &at);
    if (at != arg && *at == '/')
        over = strtod(at + 1, &at);
    *value /= over;
    *end = at;
    return at != arg && *at == stop && *value > 0 && *value < 1e6 ? 0 : -1;
}

static int read_aspect(struct picture_limits *limits, const char *arg)
{
    const char *end;
    if (read_ratio(arg, ':', &limits->aspect_low, &end) < 0 || read_ratio(end + 1, 0, &limits->aspect_high, &end) < 0 ||
        limits->aspect_low > limits->aspect_high)
        return err_set(ERR_USAGE, "--aspect: '%s' is not LOW:HIGH, such as 1/2:2", arg);
    return 0;
}

static void add_rules_file(struct filter_options *o, const char *path)
{
    o->rules_files = xrealloc(o->rules_files, (o->rules_file_count + 1) * sizeof *o->rules_files);
    o->rules_files[o->rules_file_count++] = xstrdup(path);
}

static int option(void *self, int key, const char *arg)
{
    struct settings *s = self;
    struct filter_options *o = &s->filter;
    int64_t n = 0;
    switch (key) {
    case KEY_LANG:
        o->languages = arg;
        return 0;
    case KEY_MIN_WORDS:
        if (option_int("min-words", arg, 0, 1000, &n) < 0)
            return -1;
        o->min_words = (size_t)n;
        return 0;
    case KEY_ASPECT:
        return read_aspect(&o->picture, arg);
    case KEY_MIN_SIDE:
        if (option_int("min-side", arg, 1, 1 << 20, &n) < 0)
            return -1;
        o->picture.min_side = (int)n;
        return 0;
    case KEY_MAX_PIXELS:
        if (option_int("max-pixels", arg, 1, (int64_t)1 << 32, &n) < 0)
            return -1;
        o->picture.max_pixels = (uint64_t)n;
        return 0;
    case KEY_DECODE:
        o->picture.decode = true;
        return 0;
    case KEY_REQUIRE:
        o->require_image = true;
        return 0;
    case KEY_CLEAN:
        o->clean = true;
        return 0;
    case KEY_RULES:
        add_rules_file(o, arg);
        return 0;
    case KEY_DEDUP:
        o->dedup = true;
        return strcmp(arg, "exact") == 0 ? 0 : err_set(ERR_USAGE, "--dedup: '%s' is not exact, the only kind", arg);
    case KEY_SAMPLE:
        if (option_int("sample", arg, 1, 10000, &n) < 0)
            return -1;
        s->sample.most = (size_t)n;
        return 0;
    default:
        s->explain = true;
        return 0;
    }
}

static bool reads_only(const void *self)
{
    return ((const struct settings *)self)->explain;
}

static int start(void *self, struct stage_output *out)
{
    struct settings *s = self;
    (void)out;
    /* CLD2 takes and returns 200 KB for each caption: from the heap, where glibc would ask the kernel each time. */
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
    return filter_open(&s->f, &s->filter);
}

static int process(void *self, struct record *r, struct stage_output *out)
{
    struct settings *s = self;
    s->text.len = 0;
    if ((s->explain ? filter_explain(s->f, r, &s->text) : filter_record(s->f, r)) < 0)
        return -1;
    if (s->text.len > 0 && fwrite(s->text.data, 1, s->text.len, stdout) != s->text.len)
        return err_sys("standard output");
    if (s->sample.most > 0)
        sample_offer(&s->sample, r);
    if (stage_is_dry(out) && record_has(r, FIELD_REJECT) && strncmp(buf_string(&r->reject), "language:", 9) == 0)
        stage_count(out, buf_string(&r->reject), 1);
    return stage_emit(out, r);
}

static void count_rule(void *out, const char *rule, uint64_t captions)
{
    char *name = xasprintf("boilerplate: %s", rule);
    stage_count(out, name, captions);
    free(name);
}

static int finish(void *self, struct stage_output *out)
{
    struct settings *s = self;
    stage_count(out, "asked_cld2", filter_asked(s->f));
    if (stage_is_dry(out))
        filter_dropped(s->f, count_rule, out);
    if (s->filter.dedup)
        stage_count(out, "dedup_bytes", filter_dedup_bytes(s->f));
    sample_log(&s->sample);
    return 0;
}

static void close_filter(void *self)
{
    struct settings *s = self;
    filter_close(&s->f);
    sample_free(&s->sample);
    buf_free(&s->text);
    for (size_t i = 0; i < s->filter.rules_file_count; i++)
        free(s->filter.rules_files[i]);
    free(s->filter.rules_files);
}

int main(int argc, char **argv)
{
    static const struct stage stage = {.name = "filter",
                                       .doc = doc,
                                       .options = options,
                                       .option = option,
                                       .reads_only = reads_only,
                                       .start = start,
                                       .process = process,
                                       .finish = finish,
                                       .close = close_filter};
    struct settings settings = {.filter = filter_defaults};
    return stage_main(&stage, &settings, argc, argv);
}
