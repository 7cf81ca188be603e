/*
 * What a stage counts (stage_counts.h).
 */
#include "common/stage_counts.h"
#include "common/clock.h"
#include "common/output.h"
#include "common/utf8.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TALLIES 256 /* names past these are counted as "other" */

void tally_add(struct tallies *t, const char *name, size_t len, uint64_t count)
{
    if (t->len == MAX_TALLIES - 1) {
        name = "other";
        len = strlen(name);
    }
    for (size_t i = 0; i < t->len; i++) {
        if (strlen(t->data[i].name) == len && memcmp(t->data[i].name, name, len) == 0) {
            t->data[i].count += count;
            return;
        }
    }
    t->data = xrealloc(t->data, (t->len + 1) * sizeof *t->data);
    t->data[t->len++] = (struct tally){xasprintf("%.*s", (int)len, name), count};
}

static void tallies_free(struct tallies *t)
{
    for (size_t i = 0; i < t->len; i++)
        free(t->data[i].name);
    free(t->data);
    *t = (struct tallies){0};
}

void stage_counts_free(struct stage_counts *c)
{
    tallies_free(&c->rules);
    tallies_free(&c->named);
}

static void print_grouped(struct buf *out, uint64_t value)
{
    if (value >= 1000) {
        print_grouped(out, value / 1000);
        buf_printf(out, ",%03" PRIu64, value % 1000);
    } else {
        buf_printf(out, "%" PRIu64, value);
    }
}

static void print_tallies(struct buf *out, const struct tallies *t)
{
    for (size_t i = 0; i < t->len; i++)
        buf_printf(out, "%s%s %" PRIu64, i > 0 ? ", " : "", t->data[i].name, t->data[i].count);
}

void stage_counts_print(const struct stage_counts *c, struct buf *out)
{
    double seconds = clock_now() - c->start;
    buf_printf(out, "%" PRIu64 " records, %" PRIu64 " kept, %" PRIu64 " rejected", c->records, c->kept, c->rejected);
    if (c->rules.len > 0) {
        buf_printf(out, " (");
        print_tallies(out, &c->rules);
        buf_printf(out, ")");
    }
    if (c->rejected_upstream > 0)
        buf_printf(out, ", %" PRIu64 " rejected upstream", c->rejected_upstream);
    if (c->named.len > 0) {
        buf_printf(out, ", ");
        print_tallies(out, &c->named);
    }
    buf_printf(out, ", ");
    double rate = seconds > 0 ? (double)c->records / seconds : 0;
    if (rate >= 10 || rate == 0)
        print_grouped(out, (uint64_t)(rate + 0.5));
    else
        buf_printf(out, "%.2f", rate);
    buf_printf(out, "/s");
}

static json_t *json_tallies(const struct tallies *t)
{
    json_t *object = json_object();
    struct buf name = {0};
    for (size_t i = 0; i < t->len; i++) {
        name.len = 0;
        utf8_append_valid(&name, t->data[i].name, strlen(t->data[i].name));
        json_object_set_new(object, buf_string(&name), json_integer((json_int_t)t->data[i].count));
    }
    buf_free(&name);
    return object;
}

int stage_counts_write(const struct stage_counts *c, const char *path, const char *stage, bool complete,
                       const char *error)
{
    json_t *object = json_pack("{ss sI sI sI sI so so sf sb}", "stage", stage, "records", (json_int_t)c->records,
                               "kept", (json_int_t)c->kept, "rejected", (json_int_t)c->rejected, "rejected_upstream",
                               (json_int_t)c->rejected_upstream, "rejects", json_tallies(&c->rules), "counts",
                               json_tallies(&c->named), "seconds", clock_now() - c->start, "complete", (int)complete);
    if (error != NULL) {
        struct buf text = {0};
        utf8_append_valid(&text, error, strlen(error));
        json_object_set_new(object, "error", json_string(buf_string(&text)));
        buf_free(&text);
    }
    char *text = json_dumps(object, JSON_INDENT(2));
    struct output *out = NULL;
    int result = output_open(&out, path);
    if (result == 0 &&
        (output_write(out, text, strlen(text)) < 0 || output_write(out, "\n", 1) < 0 || output_finish(out) < 0))
        result = -1;
    output_close(&out);
    free(text);
    json_decref(object);
    return result;
}
