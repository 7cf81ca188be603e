/* Unicode's emoji-test.txt and CLDR's annotations. */
#include "common/err.h"
#include "pipelines/emoji.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_LIMIT (64u << 20)

static const char *const tones[] = {"light", "medium-light", "medium", "medium-dark", "dark"};

/* The tone of "x: medium-dark skin tone"; 0 for none, or for further attributes beside it. */
static int tone_of(const char *name)
{
    const char *colon = strstr(name, ": ");
    if (!colon)
        return 0;
    for (int i = 0; i < 5; i++) {
        char want[64];
        snprintf(want, sizeof want, ": %s skin tone", tones[i]);
        if (!strcmp(colon, want))
            return i + 1;
    }
    return 0;
}

static bool is_people(const char *subgroup)
{
    static const char *const kinds[] = {"person",          "person-gesture", "person-role",   "person-fantasy",
                                        "person-activity", "person-sport",   "person-resting"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(subgroup, kinds[i]))
            return true;
    return false;
}

static void append_utf8(struct buf *b, unsigned c)
{
    unsigned char u[4];
    int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (int i = n - 1; i > 0; i--, c >>= 6)
        u[i] = (unsigned char)(0x80 | (c & 0x3F));
    u[0] = (unsigned char)(lead[n] | c);
    buf_append(b, u, (size_t)n);
}

/* "1F468 1F3FB 200D 1F692 ; fully-qualified # <text> E4.0 man firefighter: light skin tone" */
static void parse_line(struct emoji_set *set, char *line, const char *subgroup)
{
    char *name = strstr(line, "; fully-qualified");
    name = name ? strstr(name, " E") : NULL;
    name = name ? strchr(name + 1, ' ') : NULL;
    if (!name)
        return;
    name++;
    struct buf text = {0};
    for (char *p = line, *end; *p != ';'; p = end) {
        unsigned long c = strtoul(p, &end, 16);
        if (end == p)
            break;
        append_utf8(&text, (unsigned)c);
    }
    const char *colon = strstr(name, ": ");
    set->list = xrealloc(set->list, (size_t)(set->count + 1) * sizeof *set->list);
    set->list[set->count++] = (struct emoji){
        .text = xstrdup(buf_string(&text)),
        .name = xstrdup(name),
        .base = xasprintf("%.*s", colon ? (int)(colon - name) : (int)strlen(name), name),
        .subgroup = xstrdup(subgroup),
        .tone = tone_of(name),
        .people = is_people(subgroup),
    };
    buf_free(&text);
}

int emoji_load(struct emoji_set *set)
{
    struct buf file = {0};
    char subgroup[64] = "";
    *set = (struct emoji_set){0};
    if (file_read(EMOJI_TEST_FILE, FILE_LIMIT, &file)) {
        buf_free(&file);
        return err_wrap("emoji names (Debian's package unicode-data)");
    }
    for (char *save, *line = strtok_r(buf_string(&file), "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        if (!strncmp(line, "# subgroup: ", 12))
            snprintf(subgroup, sizeof subgroup, "%s", line + 12);
        else if (*line != '#')
            parse_line(set, line, subgroup);
    }
    buf_free(&file);
    return 0;
}

void emoji_free(struct emoji_set *set)
{
    for (int i = 0; i < set->count; i++) {
        free(set->list[i].text);
        free(set->list[i].name);
        free(set->list[i].base);
        free(set->list[i].subgroup);
    }
    free(set->list);
    *set = (struct emoji_set){0};
}

/* CLDR leaves the emoji presentation selector U+FE0F out. Writes `text` without it to `out`. */
static void plain_text(const char *text, char *out, size_t size)
{
    size_t n = 0;
    for (const char *p = text; *p && n + 1 < size;) {
        if (!strncmp(p, "\xef\xb8\x8f", 3))
            p += 3;
        else
            out[n++] = *p++;
    }
    out[n] = 0;
}

/* <annotation cp="..." type="tts">name</annotation>, one a line. */
static int load_annotations(struct emoji_names *names, const char *path)
{
    struct buf file = {0};
    if (file_read(path, FILE_LIMIT, &file)) {
        buf_free(&file);
        return err_wrap("emoji names (Debian's package unicode-cldr-core)");
    }
    for (char *p = buf_string(&file); (p = strstr(p, "<annotation cp=\""));) {
        char *text = p + 16, *text_end = strchr(text, '"');
        char *close = text_end ? strchr(text_end, '>') : NULL, *end = close ? strchr(close, '<') : NULL;
        if (!end)
            break;
        if (strstr(text_end, "type=\"tts\"") && strstr(text_end, "type=\"tts\"") < close) {
            size_t n = (size_t)names->count + 1;
            names->text = xrealloc(names->text, n * sizeof *names->text);
            names->name = xrealloc(names->name, n * sizeof *names->name);
            names->text[names->count] = xasprintf("%.*s", (int)(text_end - text), text);
            names->name[names->count++] = xasprintf("%.*s", (int)(end - close - 1), close + 1);
        }
        p = end;
    }
    buf_free(&file);
    return 0;
}

int emoji_names_load(struct emoji_names *names, const char *language)
{
    static const char *const folders[] = {"annotations", "annotationsDerived"};
    *names = (struct emoji_names){0};
    for (int i = 0; i < 2; i++) {
        char *path = xasprintf("%s/%s/%s.xml", EMOJI_CLDR_DIR, folders[i], language);
        int rc = load_annotations(names, path);
        free(path);
        if (rc) {
            emoji_names_free(names);
            return -1;
        }
    }
    return 0;
}

const char *emoji_names_find(const struct emoji_names *names, const char *text)
{
    char plain[128];
    plain_text(text, plain, sizeof plain);
    for (int i = 0; i < names->count; i++)
        if (!strcmp(names->text[i], plain))
            return names->name[i];
    return NULL;
}

void emoji_names_free(struct emoji_names *names)
{
    for (int i = 0; i < names->count; i++) {
        free(names->text[i]);
        free(names->name[i]);
    }
    free(names->text);
    free(names->name);
    *names = (struct emoji_names){0};
}
