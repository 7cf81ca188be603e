/*
 * Where records come from and go to, named by a URI:
 *   -                record stream on stdin or stdout (stream.c: length, crc32c, end mark; a cut stream is an error)
 *   jsonl:FILE|-     one JSON object a line
 *   text:FILE|-      one caption a line
 *   tsv:FILE|-#caption=TITLE,DESCRIPTION&image=PATH
 *                    columns by name or number (tsv.c); read only
 *   tar:PATTERN      WebDataset shards, plain or compressed; {000..099} expands (written: #records=N a shard); members
 *                    of one stem are one record
 *   dir:PATH         pictures with captions beside them (a.jpg, a.txt)
 *   lmdb:PATH        the store (store.h)
 *
 * jsonl, text and tsv number the records by line, tar and dir by shard, member and file name, whatever ids they had
 * before. jsonl, text, tar and dir sinks write kept records only unless keep_rejects. Each kind is one file that fills
 * a struct source_kind or sink_kind; the tables of kinds are in endpoint.c.
 */
#ifndef ATELIER_COMMON_ENDPOINT_H
#define ATELIER_COMMON_ENDPOINT_H

#include "common/record.h"

struct source;
struct sink;

struct source_options {
    uint64_t from; /* skip records with a smaller id */
};

struct sink_options {
    bool keep_rejects;
    const char *run; /* identity of the run, kept in a store; NULL: none */
};

/* 0, or -1 with an error that names the URI. */
int source_open(struct source **s, const char *uri, const struct source_options *options);
/* Fills `r` (replacing what it held): 1 a record, 0 the end, -1 an error. A damaged member or shard is a record that
 * carries `reject`, and reading goes on behind it. */
int source_next(struct source *s, struct record *r);
double source_fraction(const struct source *s); /* how much was read, 0 .. 1; below 0: unknown */
bool source_is_foreign(const struct source *s);
void source_close(struct source **s);

int sink_open(struct sink **s, const char *uri, const struct sink_options *options);
int sink_put(struct sink *s, const struct record *r);
/* Makes everything durable and writes the end mark where the kind has one. Call it on success only. */
int sink_finish(struct sink *s);
bool sink_is_durable(const struct sink *s);
/* Frees; a sink that was not finished leaves a stream without its end mark, a file under the name FILE.part. */
void sink_close(struct sink **s);

struct source_kind {
    const char *scheme; /* "tar" */
    int (*open)(void **self, const char *rest, const struct source_options *options);
    bool foreign; /* a format of people and other tools: what is rejected in it no stage has counted before */
    int (*next)(void *self, struct record *r);
    double (*fraction)(const void *self); /* NULL: unknown */
    void (*close)(void *self);
};

struct sink_kind {
    const char *scheme;
    bool foreign; /* gets kept records only unless keep_rejects */
    bool durable; /* a part of the records is a valid state: finish is called however the input ended */
    int (*open)(void **self, const char *rest, const struct sink_options *options);
    int (*put)(void *self, const struct record *r);
    int (*finish)(void *self);
    void (*close)(void *self);
};

extern const struct source_kind source_stream, source_jsonl, source_text, source_tsv, source_tar, source_dir,
    source_lmdb;
extern const struct sink_kind sink_stream, sink_jsonl, sink_text, sink_tar, sink_dir, sink_lmdb;

#endif
