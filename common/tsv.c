/*
 * The source of the kind "tsv": one record a line, columns between tabs; no quotes, no escapes. Behind the file stands
 * what its columns are:
 *   tsv:FILE#caption=title,description&image=path&key=photo
 * caption  columns joined by a space, empty ones left out
 * image    files, named as seen from the table's directory (on stdin, from the working directory)
 * key      where the record came from; without, FILE:LINE
 * A column is a name of the header, which is the first line, or a number from 1. Where all are numbers there is no
 * header, and the first line is a record. Record n is line n of those behind the header, empty lines too. A line of too
 * few columns, and one whose file cannot be read, is a reject.
 */
#include "common/endpoint.h"
#include "common/err.h"
#include "common/input.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_LINE_BYTES ((size_t)16 << 20)
#define MAX_COLUMNS 10000 /* looked at */
#define MAX_USES 64

/* A column that becomes a field, or a part of one. */
struct use {
    enum field field;
    char *name;
    size_t column; /* from 0 */
    bool numbered;
};

struct tsv_source {
    struct input *in;
    char *directory; /* of the pictures, with its slash: "" or "data/" */
    struct use uses[MAX_USES];
    size_t use_count;
    struct buf line, value;
    size_t columns;     /* that are looked at */
    const char **start; /* [MAX_COLUMNS + 1]: of the line's columns, and behind them */
    uint64_t id, number, from;
};

static void source_tsv_close(void *self)
{
    struct tsv_source *s = self;
    input_close(&s->in);
    for (size_t i = 0; i < s->use_count; i++)
        free(s->uses[i].name);
    free(s->directory);
    free(s->start);
    buf_free(&s->line);
    buf_free(&s->value);
    free(s);
}

/* "caption=title,description": appends to the uses. */
static int read_uses(struct tsv_source *s, char *field_uses)
{
    char *names = strchr(field_uses, '=');
    int field = names ? record_find_field(field_uses, (size_t)(names - field_uses)) : -1;
    if (field != FIELD_CAPTION && field != FIELD_IMAGE && field != FIELD_KEY)
        return err_set(ERR_USAGE, "'%s': not caption=COLUMN,..., image=COLUMN or key=COLUMN", field_uses);
    for (size_t i = 0; i < s->use_count; i++)
        if (s->uses[i].field == (enum field)field)
            return err_set(ERR_USAGE, "%s= is there twice", record_fields[field].name);
    names++;
    size_t first = s->use_count;
    for (char *name; (name = strsep(&names, ",")) != NULL;) {
        if (*name == 0)
            return err_set(ERR_USAGE, "%s= names no column", record_fields[field].name);
        if (s->use_count == MAX_USES || (field != FIELD_CAPTION && s->use_count > first))
            return err_set(ERR_USAGE, "%s= names too many columns", record_fields[field].name);
        char *end;
        unsigned long number = strtoul(name, &end, 10);
        bool numbered = *end == 0 && number >= 1 && number <= MAX_COLUMNS;
        s->uses[s->use_count++] = (struct use){(enum field)field, xstrdup(name), numbered ? number - 1 : 0, numbered};
    }
    return 0;
}

/* Fills s->start from the line's first `most` columns; the count of these. */
static size_t split(struct tsv_source *s, size_t most)
{
    const char *p = buf_string(&s->line), *end = p + s->line.len;
    size_t count = 0;
    while (count < most && p <= end) {
        const char *tab = memchr(p, '\t', (size_t)(end - p));
        s->start[count++] = p;
        p = (tab ? tab : end) + 1;
    }
    s->start[count] = p;
    return count;
}

static size_t length_of(const struct tsv_source *s, size_t column)
{
    return (size_t)(s->start[column + 1] - s->start[column]) - 1;
}

static int find_column(struct tsv_source *s, struct use *use, size_t count)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        if (strlen(use->name) != length_of(s, i) || memcmp(use->name, s->start[i], length_of(s, i)) != 0)
            continue;
        use->column = i;
        found++;
    }
    if (found == 1)
        return 0;
    s->line.len = s->line.len < 200 ? s->line.len : 200;
    for (char *tab = buf_string(&s->line); (tab = strchr(tab, '\t')) != NULL;)
        *tab = ',';
    return err_set(ERR_DATA, "%s: the header has %s column '%s': %s", input_name(s->in), found ? "more than one" : "no",
                   use->name, buf_string(&s->line));
}

/* Reads the header where a column is named by it. */
static int read_header(struct tsv_source *s)
{
    uint64_t whole;
    size_t named = 0;
    for (size_t i = 0; i < s->use_count; i++)
        named += !s->uses[i].numbered;
    if (named == 0)
        return 0;
    int got = input_line(s->in, &s->line, MAX_LINE_BYTES, &whole);
    if (got < 0)
        return -1;
    if (got == 0)
        return err_set(ERR_DATA, "%s: is empty, and its first line should name the columns", input_name(s->in));
    if (whole > MAX_LINE_BYTES)
        return err_set(ERR_DATA, "%s: a header of %" PRIu64 " bytes, limit %zu", input_name(s->in), whole,
                       MAX_LINE_BYTES);
    s->number++;
    if (s->line.len >= 3 && memcmp(s->line.data, "\xEF\xBB\xBF", 3) == 0) {
        s->line.len -= 3;
        memmove(s->line.data, s->line.data + 3, s->line.len);
    }
    size_t count = split(s, MAX_COLUMNS);
    for (size_t i = 0; i < s->use_count; i++)
        if (!s->uses[i].numbered && find_column(s, &s->uses[i], count) < 0)
            return -1;
    return 0;
}

static int open_table(struct tsv_source *s, char *path, char *columns)
{
    for (char *part; (part = strsep(&columns, "&")) != NULL;)
        if (read_uses(s, part) < 0)
            return -1;
    const char *slash = strrchr(path, '/');
    s->directory = slash ? xasprintf("%.*s", (int)(slash - path) + 1, path) : xstrdup("");
    if (input_open(&s->in, path) < 0 || read_header(s) < 0)
        return -1;
    for (size_t i = 0; i < s->use_count; i++)
        s->columns = s->uses[i].column >= s->columns ? s->uses[i].column + 1 : s->columns;
    return 0;
}

static int source_tsv_open(void **self, const char *rest, const struct source_options *options)
{
    const char *hash = strrchr(rest, '#');
    if (!hash || hash == rest)
        return err_set(ERR_USAGE, "the columns are missing: tsv:FILE#caption=COLUMN,...&image=COLUMN");
    struct tsv_source *s = xcalloc(1, sizeof *s);
    s->start = xmalloc((MAX_COLUMNS + 1) * sizeof *s->start);
    s->from = options->from;
    char *path = xasprintf("%.*s", (int)(hash - rest), rest), *columns = xstrdup(hash + 1);
    int result = open_table(s, path, columns);
    free(path);
    free(columns);
    if (result < 0) {
        source_tsv_close(s);
        return -1;
    }
    *self = s;
    return 0;
}

static int read_picture(struct tsv_source *s, struct record *r, const char *name, size_t len)
{
    struct stat st;
    int result = 0;
    if (len == 0 || memchr(name, 0, len)) {
        record_reject(r, "image: %s", len ? "a zero byte in the file's name" : "no file is named");
        return 0;
    }
    char *path = xasprintf("%s%.*s", *name == '/' ? "" : s->directory, (int)len, name);
    s->value.len = 0;
    /* A pipe would be waited for. */
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        record_reject(r, "image: %s: not a regular file", path);
    else if (file_read(path, record_fields[FIELD_IMAGE].limit, &s->value) < 0)
        result = record_blame(r, "image");
    else
        record_set_string(r, FIELD_IMAGE, s->value.data, s->value.len);
    free(path);
    return result;
}

static void set_caption(struct tsv_source *s, struct record *r)
{
    bool some = false;
    s->value.len = 0;
    for (size_t i = 0; i < s->use_count; i++) {
        size_t column = s->uses[i].column;
        if (s->uses[i].field != FIELD_CAPTION)
            continue;
        some = true;
        if (length_of(s, column) == 0)
            continue;
        buf_append(&s->value, " ", s->value.len > 0);
        buf_append(&s->value, s->start[column], length_of(s, column));
    }
    if (some)
        record_set_caption(r, s->value.data, s->value.len, s->value.len);
}

static int fill(struct tsv_source *s, struct record *r)
{
    size_t count = split(s, s->columns);
    for (size_t i = 0; i < s->use_count; i++) {
        const struct use *use = &s->uses[i];
        if (use->column >= count) {
            record_reject(r, "tsv: %zu column%s, where '%s' is column %zu", count, count == 1 ? "" : "s", use->name,
                          use->column + 1);
            return 0;
        }
    }
    set_caption(s, r);
    for (size_t i = 0; i < s->use_count; i++) {
        const char *text = s->start[s->uses[i].column];
        size_t len = length_of(s, s->uses[i].column);
        if (s->uses[i].field == FIELD_KEY && len > 0)
            record_set_key(r, "%.*s", (int)len, text);
        else if (s->uses[i].field == FIELD_IMAGE && r->id >= s->from && !record_has(r, FIELD_REJECT) &&
                 read_picture(s, r, text, len) < 0)
            return -1;
    }
    return 0;
}

static int source_tsv_next(void *self, struct record *r)
{
    struct tsv_source *s = self;
    uint64_t whole;
    int got = input_line(s->in, &s->line, MAX_LINE_BYTES, &whole);
    if (got <= 0)
        return got;
    record_clear(r);
    record_set_u64(r, FIELD_ID, s->id++);
    record_set_line_key(r, input_name(s->in), ++s->number);
    if (whole > MAX_LINE_BYTES)
        record_reject(r, "tsv: a line of %" PRIu64 " bytes, limit %zu", whole, MAX_LINE_BYTES);
    else if (fill(s, r) < 0)
        return -1;
    return 1;
}

static double source_tsv_fraction(const void *self)
{
    const struct tsv_source *s = self;
    return input_fraction(s->in);
}

const struct source_kind source_tsv = {.scheme = "tsv",
                                       .foreign = true,
                                       .open = source_tsv_open,
                                       .next = source_tsv_next,
                                       .fraction = source_tsv_fraction,
                                       .close = source_tsv_close};
