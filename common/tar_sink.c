/*
 * The sink of the kind "tar": WebDataset shards (ustar), compressed when the name ends in .gz, .tgz, .zst or .xz. A
 * pattern's names are filled one after the other with SHARD_RECORDS records (or as many as "#records=N" behind the
 * pattern says) or SHARD_BYTES each; a single name takes all. Names that are not needed become empty shards, so that
 * the same pattern reads all of it. The bytes depend on the records alone.
 */
#include "common/endpoint.h"
#include "common/err.h"
#include "common/expand.h"
#include "common/members.h"
#include "common/output.h"
#include "common/stage.h"
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SHARD_RECORDS 10000u
#define RECORDS_OPTION "#records="
#define SHARD_BYTES (1ull << 30)

struct tar_sink {
    struct names shards;
    size_t at;
    struct output *out;
    struct archive *archive;
    struct archive_entry *entry;
    uint64_t records, bytes; /* in the present shard */
    int64_t most;            /* records a shard */
    bool output_failed;      /* the error is set already */
    bool dropped;            /* what is still written goes nowhere: an unfinished shard gets no end mark */
};

static la_ssize_t write_output(struct archive *archive, void *self, const void *data, size_t len)
{
    struct tar_sink *s = self;
    if (s->dropped || output_write(s->out, data, len) == 0)
        return (la_ssize_t)len;
    s->output_failed = true;
    archive_set_error(archive, EIO, "%s", err_text());
    return -1;
}

static int archive_failed(const struct tar_sink *s)
{
    if (s->output_failed)
        return -1;
    if (errno == ENOMEM)
        mem_gone(0);
    return err_set(ERR_IO, "%s: %s", s->shards.name[s->at], archive_error_string(s->archive));
}

static bool ends_in(const char *name, const char *ending)
{
    size_t len = strlen(name), tail = strlen(ending);
    return len >= tail && strcmp(name + len - tail, ending) == 0;
}

static void close_shard(struct tar_sink *s)
{
    s->dropped = true; /* archive_write_fail would leave libarchive's buffer behind */
    archive_write_free(s->archive);
    s->archive = NULL;
    s->dropped = false;
    output_close(&s->out);
}

static int open_shard(struct tar_sink *s)
{
    const char *name = s->shards.name[s->at];
    if (output_open(&s->out, name) < 0)
        return -1;
    errno = 0;
    struct archive *a = s->archive = archive_write_new();
    if (a == NULL)
        mem_gone(0);
    archive_write_set_format_ustar(a);
    archive_write_set_bytes_in_last_block(a, 1); /* zeros behind a zstd frame make it unreadable */
    if (ends_in(name, ".gz") || ends_in(name, ".tgz")) {
        archive_write_add_filter_gzip(a);
        archive_write_set_filter_option(a, "gzip", "timestamp", NULL);
    } else if (ends_in(name, ".zst")) {
        archive_write_add_filter_zstd(a);
    } else if (ends_in(name, ".xz")) {
        archive_write_add_filter_xz(a);
    }
    s->records = s->bytes = 0;
    return archive_write_open(a, s, NULL, write_output, NULL) < ARCHIVE_WARN ? archive_failed(s) : 0;
}

static int finish_shard(struct tar_sink *s)
{
    if (archive_write_close(s->archive) < ARCHIVE_WARN)
        return archive_failed(s);
    return output_finish(s->out);
}

static void sink_tar_close(void *self)
{
    struct tar_sink *s = self;
    close_shard(s);
    archive_entry_free(s->entry);
    names_free(&s->shards);
    free(s);
}

static int sink_tar_open(void **self, const char *rest, const struct sink_options *options)
{
    (void)options;
    struct tar_sink *s = xcalloc(1, sizeof *s);
    const char *most = strstr(rest, RECORDS_OPTION);
    char *pattern = most ? xasprintf("%.*s", (int)(most - rest), rest) : xstrdup(rest);
    s->entry = archive_entry_new();
    if (s->entry == NULL)
        mem_gone(0);
    s->most = SHARD_RECORDS;
    int rc = most ? option_int("records", most + strlen(RECORDS_OPTION), 1, INT64_MAX, &s->most) : 0;
    if (rc < 0 || expand_braces(&s->shards, pattern) < 0 || open_shard(s) < 0) {
        sink_tar_close(s);
        rc = -1;
    }
    free(pattern);
    *self = s;
    return rc;
}

static int put_member(void *to, const char *name, const void *data, size_t len)
{
    struct tar_sink *s = to;
    errno = 0;
    archive_entry_clear(s->entry);
    archive_entry_set_pathname(s->entry, name);
    archive_entry_set_filetype(s->entry, AE_IFREG);
    archive_entry_set_perm(s->entry, 0644);
    archive_entry_set_size(s->entry, (la_int64_t)len);
    archive_entry_set_mtime(s->entry, 0, 0);
    if (archive_write_header(s->archive, s->entry) < ARCHIVE_WARN ||
        archive_write_data(s->archive, data, len) != (la_ssize_t)len)
        return archive_failed(s);
    s->bytes += len;
    return 0;
}

static int next_shard(struct tar_sink *s)
{
    if (finish_shard(s) < 0)
        return -1;
    close_shard(s);
    s->at++;
    return open_shard(s);
}

static int sink_tar_put(void *self, const struct record *r)
{
    struct tar_sink *s = self;
    if (s->shards.count > 1 && (s->records == (uint64_t)s->most || s->bytes >= SHARD_BYTES)) {
        if (s->at + 1 == s->shards.count)
            return err_set(ERR_USAGE,
                           "%s: the last of %zu shards is full (%" PRId64 " records or %llu bytes each): give more",
                           s->shards.name[s->at], s->shards.count, s->most, SHARD_BYTES);
        if (next_shard(s) < 0)
            return -1;
    }
    s->records++;
    return members_write(r, put_member, s);
}

static int sink_tar_finish(void *self)
{
    struct tar_sink *s = self;
    while (s->at + 1 < s->shards.count)
        if (next_shard(s) < 0)
            return -1;
    return finish_shard(s);
}

const struct sink_kind sink_tar = {.scheme = "tar",
                                   .foreign = true,
                                   .open = sink_tar_open,
                                   .put = sink_tar_put,
                                   .finish = sink_tar_finish,
                                   .close = sink_tar_close};
