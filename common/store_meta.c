/*
 * meta.json of a store, and which shards the directory has.
 *   {"format": "atelier-store", "version": 2, "shard_records": 1000000, "run": "...", "crc32c": 123}
 * run is absent in a store of no named run; crc32c covers the text "version shard_records run".
 */
#include "common/crc32c.h"
#include "common/err.h"
#include "common/store_private.h"
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FORMAT "atelier-store"
#define VERSION 2
#define META_MAX_BYTES (1u << 20)

static uint32_t checksum(const struct store_meta *meta)
{
    struct buf text = {0};
    buf_printf(&text, "%d %" PRIu64 " %s", VERSION, meta->shard_records, meta->run ? meta->run : "");
    uint32_t crc = crc32c(0, text.data, text.len);
    buf_free(&text);
    return crc;
}

static int parse(struct store_meta *meta, json_t *root)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    json_int_t version = json_integer_value(json_object_get(root, "version"));
    const char *run = json_string_value(json_object_get(root, "run"));
    json_int_t records = json_integer_value(json_object_get(root, "shard_records"));
    if (!format || strcmp(format, FORMAT) != 0)
        return err_set(ERR_DATA, "not the meta.json of a store, or damaged");
    if (version != VERSION)
        return err_set(ERR_DATA, "a store of version %lld; this program knows version %d: make it anew",
                       (long long)version, VERSION);
    if (records < 1 || records > INT32_MAX)
        return err_set(ERR_DATA, "damaged: shard_records %lld", (long long)records);
    meta->shard_records = (uint64_t)records;
    meta->run = run ? xstrdup(run) : NULL;
    if (json_integer_value(json_object_get(root, "crc32c")) == checksum(meta))
        return 1;
    free(meta->run);
    meta->run = NULL;
    return err_set(ERR_DATA, "damaged: its checksum is wrong");
}

int store_meta_read(struct store_meta *meta, const char *path)
{
    struct buf text = {0};
    json_error_t e;
    char *file = xasprintf("%s/meta.json", path);
    int rc = access(file, F_OK) < 0 && errno == ENOENT ? 0 : 1;
    if (rc > 0 && file_read(file, META_MAX_BYTES, &text) < 0) {
        rc = -1;
    } else if (rc > 0) {
        json_t *root = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &e);
        rc = root ? parse(meta, root) : err_set(ERR_DATA, "damaged: %s", e.text);
        json_decref(root);
        if (rc < 0)
            err_wrap("%s", file);
    }
    buf_free(&text);
    free(file);
    return rc;
}

int store_meta_write(const struct store_meta *meta, const char *path)
{
    json_t *root = json_pack("{s:s, s:i, s:I, s:s*, s:I}", "format", FORMAT, "version", VERSION, "shard_records",
                             (json_int_t)meta->shard_records, "run", meta->run, "crc32c", (json_int_t)checksum(meta));
    char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    char *file = xasprintf("%s/meta.json", path);
    int rc = text ? file_write(file, text, strlen(text)) : err_set(ERR_DATA, "the run's identity is not UTF-8");
    json_decref(root);
    free(text);
    free(file);
    return rc;
}

int64_t store_count_shards(const char *path)
{
    int64_t count = 0, files = 0;
    DIR *d = opendir(path);
    if (!d)
        return err_sys("%s", path);
    struct dirent *entry;
    while ((entry = readdir(d)) != NULL) {
        size_t digits = strspn(entry->d_name, "0123456789");
        if (digits < 6 || digits > 9 || strcmp(entry->d_name + digits, ".mdb") != 0)
            continue;
        int64_t number = strtoll(entry->d_name, NULL, 10);
        files++;
        if (number >= count)
            count = number + 1;
    }
    closedir(d);
    if (files != count)
        return err_set(ERR_DATA, "%s: shards are missing: there are %lld, the last is %06lld.mdb", path,
                       (long long)files, (long long)count - 1);
    return count;
}
