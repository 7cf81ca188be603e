/*
 * The source of the kind "tar": WebDataset shards through libarchive, plain or compressed. Members of one stem (the
 * path up to the first dot of its last part) that follow each other are one record, with the key "shard.tar/stem";
 * members are data, their names are never opened. A damaged shard (garbage, cut, without its end mark) gives what was
 * whole before the damage and one reject "shard: ...", then the next shard follows.
 */
#include "common/endpoint.h"
#include "common/err.h"
#include "common/expand.h"
#include "common/input.h"
#include "common/members.h"
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_BYTES 512
#define INPUT_BYTES (256u << 10)
#define READ_BYTES (1u << 20) /* memory grows with what comes, not with what a header claims */
#define JSON_BYTES (16u << 20)

struct tar_source {
    struct names shards;
    size_t at;
    struct input *in; /* of the present shard; NULL between shards */
    struct archive *archive;
    struct archive_entry *entry; /* read but not yet taken; NULL: none */
    bool ended;                  /* the present shard's last record was given */
    bool input_failed;           /* not the shard but the device is to blame */
    uint64_t id;
    struct buf stem, bytes, json;
    unsigned char block[INPUT_BYTES];
};

static la_ssize_t read_input(struct archive *archive, void *self, const void **block)
{
    struct tar_source *s = self;
    ssize_t got = input_read(s->in, s->block, sizeof s->block);
    *block = s->block;
    if (got < 0) {
        s->input_failed = true;
        archive_set_error(archive, EIO, "%s", err_text());
    }
    return got;
}

static const char *shard_name(const struct tar_source *s)
{
    const char *path = s->shards.name[s->at], *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void close_shard(struct tar_source *s)
{
    archive_read_free(s->archive);
    s->archive = NULL;
    s->entry = NULL;
    s->ended = false;
    input_close(&s->in);
}

/* -1 with what libarchive says. */
static int archive_failed(const struct tar_source *s)
{
    if (s->input_failed)
        return -1;
    if (errno == ENOMEM)
        mem_gone(0);
    const char *text = archive_error_string(s->archive);
    return err_set(ERR_DATA, "%s", text ? text : "damaged");
}

static int open_shard(struct tar_source *s)
{
    if (input_open(&s->in, s->shards.name[s->at]) < 0) {
        s->input_failed = true;
        return -1;
    }
    errno = 0;
    struct archive *a = s->archive = archive_read_new();
    if (a == NULL)
        mem_gone(0);
    archive_read_support_format_tar(a);
    archive_read_support_filter_gzip(a);
    archive_read_support_filter_bzip2(a);
    archive_read_support_filter_xz(a);
    archive_read_support_filter_zstd(a);
    archive_read_support_filter_lz4(a);
    /* Not archive_read_open, which goes on without the memory for its data. */
    archive_read_set_read_callback(a, read_input);
    bool open = archive_read_set_callback_data(a, s) == ARCHIVE_OK && archive_read_open1(a) >= ARCHIVE_WARN;
    return open && errno != ENOMEM ? 0 : archive_failed(s);
}

/* What a link member points to; NULL: it is none. Links are never followed, but their records must not vanish. */
static const char *link_target(struct archive_entry *entry)
{
    const char *hard = archive_entry_hardlink(entry);
    return hard ? hard : archive_entry_symlink(entry);
}

/* The next regular file of the shard into s->entry: 1, 0 at the end mark, -1. */
static int next_entry(struct tar_source *s)
{
    errno = 0;
    for (;;) {
        if (s->entry != NULL && archive_read_data_skip(s->archive) < ARCHIVE_WARN)
            return archive_failed(s);
        s->entry = NULL;
        int64_t before = archive_filter_bytes(s->archive, 0);
        int got = archive_read_next_header(s->archive, &s->entry);
        if (got == ARCHIVE_EOF) {
            /* libarchive also ends where the file does; the end mark is one or two blocks of zeros. */
            s->entry = NULL;
            bool marked = archive_filter_bytes(s->archive, 0) - before >= BLOCK_BYTES;
            return marked ? 0 : err_set(ERR_DATA, "no end mark: the file was cut");
        }
        if ((got != ARCHIVE_OK && got != ARCHIVE_WARN) || errno == ENOMEM)
            return archive_failed(s);
        if (archive_entry_filetype(s->entry) == AE_IFREG || link_target(s->entry))
            return 1;
    }
}

/* The entry's name; a name in a character set that cannot be had is as good as none. */
static const char *entry_name(const struct tar_source *s)
{
    const char *name = archive_entry_pathname(s->entry);
    if (name == NULL)
        name = archive_entry_pathname_utf8(s->entry);
    if (name == NULL && errno == ENOMEM)
        mem_gone(0);
    return name ? name : "";
}

/* Bytes of the path up to the first dot of its last part. */
static size_t stem_bytes(const char *name)
{
    const char *slash = strrchr(name, '/'), *last = slash ? slash + 1 : name;
    return (size_t)(last - name) + strcspn(last, ".");
}

/* The first `limit` bytes of the entry's data into `to`; the entry's size is `whole`. 0 or -1. */
static int read_entry(struct tar_source *s, struct buf *to, size_t limit, uint64_t *whole)
{
    *whole = (uint64_t)archive_entry_size(s->entry);
    to->len = 0;
    errno = 0;
    while (to->len < limit) {
        size_t part = limit - to->len, most = to->len > READ_BYTES ? to->len : READ_BYTES;
        if (part > most)
            part = most;
        if (*whole - to->len < part)
            part = (size_t)(*whole - to->len);
        if (part == 0)
            return 0;
        if (buf_try(to, part, limit, entry_name(s)) < 0)
            return -1;
        la_ssize_t got = archive_read_data(s->archive, to->data + to->len, part);
        if (got < 0)
            return archive_failed(s);
        if (got == 0)
            return err_set(ERR_DATA, "%s: shorter than its header says", entry_name(s));
        to->len += (size_t)got;
    }
    return 0;
}

/* Takes the present entry into the record. */
static int take_entry(struct tar_source *s, struct record *r)
{
    const char *name = entry_name(s), *extension = name + stem_bytes(name);
    size_t image_limit = record_fields[FIELD_IMAGE].limit;
    enum member member = member_of(*extension ? extension + 1 : extension);
    uint64_t whole;
    if (link_target(s->entry) && member != MEMBER_OTHER) {
        record_reject(r, "shard: %s is a link to %s; pack the file itself (tar --hard-dereference -h)", name,
                      link_target(s->entry));
        return 0;
    }
    switch (member) {
    case MEMBER_IMAGE:
        if (record_has(r, FIELD_REJECT))
            return 0;
        if (record_has(r, FIELD_IMAGE)) {
            record_reject(r, "image: two of one name");
            return 0;
        }
        if (archive_entry_size(s->entry) > (int64_t)image_limit) {
            record_reject(r, "image: %" PRId64 " bytes, limit %zu", archive_entry_size(s->entry), image_limit);
            return 0;
        }
        if (read_entry(s, &s->bytes, image_limit, &whole) < 0)
            return -1;
        record_set_string(r, FIELD_IMAGE, s->bytes.data, s->bytes.len);
        return 0;
    case MEMBER_CAPTION:
        if (read_entry(s, &s->bytes, record_fields[FIELD_CAPTION].limit + 1, &whole) < 0)
            return -1;
        member_set_caption(r, s->bytes.data, s->bytes.len, whole);
        return 0;
    case MEMBER_JSON:
        if (archive_entry_size(s->entry) <= JSON_BYTES)
            return read_entry(s, &s->json, JSON_BYTES, &whole);
        record_reject(r, "json: %" PRId64 " bytes, limit %u", archive_entry_size(s->entry), JSON_BYTES);
        return 0;
    case MEMBER_OTHER:
        return 0;
    }
    return -1;
}

/* A record without a caption of its own gets that of its JSON member. img2dataset's say more: where the picture came
 * from, which is kept as the unknown field `url`, and whether it came. */
static void fields_from_json(const struct tar_source *s, struct record *r)
{
    json_error_t error;
    if (s->json.len == 0)
        return;
    json_t *json = json_loadb((const char *)s->json.data, s->json.len, JSON_ALLOW_NUL, &error);
    const json_t *caption = json_object_get(json, "caption"), *url = json_object_get(json, "url");
    const char *status = json_string_value(json_object_get(json, "status"));
    const char *message = json_string_value(json_object_get(json, "error_message"));
    bool wanted = !record_has(r, FIELD_CAPTION);
    if (wanted && json_is_string(caption))
        record_set_caption(r, json_string_value(caption), json_string_length(caption), json_string_length(caption));
    if (json_is_string(url))
        record_add_text(r, "url", json_string_value(url), json_string_length(url));
    if (wanted && json == NULL)
        record_reject(r, "json: %s at byte %d", error.text, error.position);
    else if (status && !record_has(r, FIELD_REJECT) && strcmp(status, "success") != 0)
        record_reject(r, "download: %s", message ? message : status);
    json_decref(json);
}

/* One record of the open shard: 1, 0 when there is none left, -1 when the shard is damaged. */
static int read_record(struct tar_source *s, struct record *r)
{
    if (s->entry == NULL) {
        int got = next_entry(s);
        if (got <= 0)
            return got;
    }
    const char *name = entry_name(s);
    size_t bytes = stem_bytes(name);
    s->json.len = s->stem.len = 0;
    buf_append(&s->stem, name, bytes);
    record_set_key(r, "%s/%s", shard_name(s), buf_string(&s->stem));
    do {
        if (take_entry(s, r) < 0)
            return -1;
        int got = next_entry(s);
        if (got < 0)
            return -1;
        if (got == 0) {
            s->ended = true;
            break;
        }
        name = entry_name(s);
        bytes = stem_bytes(name);
    } while (bytes == s->stem.len && memcmp(name, s->stem.data, bytes) == 0);
    fields_from_json(s, r);
    return 1;
}

static int source_tar_next(void *self, struct record *r)
{
    struct tar_source *s = self;
    for (; s->at < s->shards.count; s->at++) {
        record_clear(r);
        int got = s->ended ? 0 : (s->archive == NULL && open_shard(s) < 0) ? -1 : read_record(s, r);
        if (got > 0) {
            record_set_u64(r, FIELD_ID, s->id++);
            return 1;
        }
        if (s->input_failed || (got < 0 && err_code() == ERR_AGAIN))
            return -1;
        if (got < 0) {
            record_reject(r, "shard: %s: %s", s->shards.name[s->at], err_text());
            record_set_u64(r, FIELD_ID, s->id++);
            if (!record_has(r, FIELD_KEY))
                record_set_key(r, "%s", shard_name(s));
            close_shard(s);
            s->at++;
            return 1;
        }
        close_shard(s);
    }
    return 0;
}

static void source_tar_close(void *self)
{
    struct tar_source *s = self;
    close_shard(s);
    names_free(&s->shards);
    buf_free(&s->stem);
    buf_free(&s->bytes);
    buf_free(&s->json);
    free(s);
}

static int source_tar_open(void **self, const char *rest, const struct source_options *options)
{
    (void)options;
    struct names shards;
    if (expand_braces(&shards, rest) < 0)
        return -1;
    for (size_t i = 0; i < shards.count; i++) {
        /* All before the first record: a missing shard is better known now than after hours. */
        if (strcmp(shards.name[i], "-") != 0 && access(shards.name[i], R_OK) < 0) {
            err_sys("shard %s (%zu of %zu)", shards.name[i], i + 1, shards.count);
            names_free(&shards);
            return -1;
        }
    }
    struct tar_source *s = xcalloc(1, sizeof *s);
    s->shards = shards;
    *self = s;
    return 0;
}

static double source_tar_fraction(const void *self)
{
    const struct tar_source *s = self;
    double part = s->in ? input_fraction(s->in) : 0;
    if (part < 0)
        return s->shards.count > 1 ? (double)s->at / (double)s->shards.count : -1;
    return ((double)s->at + part) / (double)s->shards.count;
}

const struct source_kind source_tar = {.scheme = "tar",
                                       .foreign = true,
                                       .open = source_tar_open,
                                       .next = source_tar_next,
                                       .fraction = source_tar_fraction,
                                       .close = source_tar_close};
