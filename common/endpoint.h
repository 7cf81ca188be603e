/*
 * Where records come from and go to, named by a URI:
 *   -                record stream on stdin or stdout (stream.c: length, crc32c, end mark; a cut stream is an error)
 *   jsonl:FILE|-     one JSON object a line
 *   text:FILE|-      one caption a line
 *   tsv:FILE|-#caption=TITLE,DESCRIPTION&image=PATH
 *                    columns by name or number (tsv.c); read only
 *   tar:PATTERN      WebDataset shards, plain or compressed; {000..099} expands (written: #records=N a shard); members
 *                    of one stem are one record
 *   dir:PATH         pictures with captions beside them (a.jpg, a.txt), also in folders below
 *   lmdb:PATH        the store (store.h)
 *   tcp://HOST:PORT  a link (link.h), as ipc://PATH: connects; with bind+ in front (bind+tcp://127.0.0.1:5555) it binds
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

/* What links want to know (link.h). */
struct endpoint_link {
    const char *keys; /* NULL: none */
    bool insecure;
    uint32_t batch; /* records of a batch, where the source is no link */
};

struct source_options {
    uint64_t from;   /* skip records with a smaller id */
    const char *run; /* identity of the run, told over a link; NULL: none */
    struct endpoint_link link;
};

struct sink_options {
    bool keep_rejects;
    const char *run; /* identity of the run, kept in a store, told over a link; NULL: none */
    struct endpoint_link link;
    /* Where the source is a link: called for each ticket (sink_mark) when its records are stored, from any thread; and
     * whether all that feed it have left. */
    void (*stored)(void *context, uint64_t ticket);
    bool (*is_forsaken)(void *context);
    void *context;
};

/* 0, or -1 with an error that names the URI. */
int source_open(struct source **s, const char *uri, const struct source_options *options);
/* Fills `r` (replacing what it held): SOURCE_RECORD, or what else there is, or -1 an error. A damaged member or shard
 * is a record that carries `reject`, and reading goes on behind it. */
enum source_event {
    SOURCE_END,
    SOURCE_RECORD,
    SOURCE_BATCH, /* links: the end of a batch */
    SOURCE_IDLE,  /* links: nothing comes at present */
};
int source_next(struct source *s, struct record *r);
double source_fraction(const struct source *s); /* how much was read, 0 .. 1; below 0: unknown */
bool source_is_foreign(const struct source *s);
uint64_t source_total(const struct source *s, uint64_t read); /* ids of the whole input, at its end */
void source_close(struct source **s);

void source_print(struct source *s, struct buf *out); /* metrics */
void sink_print(struct sink *s, struct buf *out);

/* Sources that hand out batches, which are to be acknowledged: links. */
bool source_has_batches(const struct source *s);
uint64_t source_pass(struct source *s);                 /* the present batch was put into the sink: its ticket */
void source_acknowledge(void *source, uint64_t ticket); /* and is stored; from any thread */
void source_fail(struct source *s, bool permanent, const char *why); /* the present batch failed */
void source_leave(struct source *s);                                 /* wants no more, gives back what was not passed */
void source_confirm_end(struct source *s); /* it came to its end, and all that follow know of it */
bool source_is_forsaken(void *source);     /* nobody is there any more who feeds it */

/* Before it is opened, which may create it: whether the URI names a kind, and whether that can say when records are
 * stored (sink_mark). 0 or -1. */
int sink_check(const char *uri, bool *marks);
int sink_open(struct sink **s, const char *uri, const struct sink_options *options);
int sink_put(struct sink *s, const struct record *r);
/* Makes everything durable and writes the end mark where the kind has one. Call it on success only. 0 or -1; of a link
 * also 1: nobody has confirmed the end, and there was no waiting for it any longer. */
int sink_finish(struct sink *s);
bool sink_is_durable(const struct sink *s);
uint64_t sink_done(const struct sink *s); /* ids below it are kept already; 0 where that is not known */
/* Instead of sink_finish, for durable kinds, when the input did not come to its end: keeps what is whole. */
int sink_stop(struct sink *s);
/* What was put since the last mark goes under `ticket`. 0 or -1. Only for kinds with marks. */
int sink_mark(struct sink *s, uint64_t ticket);
int sink_sync(struct sink *s);                   /* nothing more comes at present: store what waits */
void sink_total(struct sink *s, uint64_t total); /* before sink_finish: ids of the whole input */
/* Frees; a sink that was not finished leaves a stream without its end mark, a file under the name FILE.part. */
void sink_close(struct sink **s);

struct source_kind {
    const char *scheme; /* "tar" */
    int (*open)(void **self, const char *rest, const struct source_options *options);
    bool foreign; /* a format of people and other tools: what is rejected in it no stage has counted before */
    int (*next)(void *self, struct record *r);
    double (*fraction)(const void *self); /* NULL: unknown */
    void (*close)(void *self);
    const struct source_batches *batches;       /* NULL: none */
    void (*print)(void *self, struct buf *out); /* its metrics (monitor.h), from any thread; NULL: none */
};

struct source_batches {
    uint64_t (*pass)(void *self);
    void (*acknowledge)(void *self, uint64_t ticket);
    void (*fail)(void *self, bool permanent, const char *why);
    void (*leave)(void *self);
    uint64_t (*total)(const void *self);
    void (*confirm_end)(void *self);
    bool (*is_forsaken)(void *self);
};

struct sink_kind {
    const char *scheme;
    bool foreign; /* gets kept records only unless keep_rejects */
    int (*open)(void **self, const char *rest, const struct sink_options *options);
    int (*put)(void *self, const struct record *r);
    uint64_t (*done)(const void *self); /* NULL: not known */
    int (*finish)(void *self);
    int (*stop)(void *self); /* NULL: a part of the records is no valid state */
    void (*close)(void *self);
    int (*mark)(void *self, uint64_t ticket);   /* NULL: cannot say when records are stored */
    int (*sync)(void *self);                    /* NULL: nothing to do */
    void (*total)(void *self, uint64_t total);  /* NULL: no use for it */
    void (*print)(void *self, struct buf *out); /* its metrics (monitor.h), from any thread; NULL: none */
};

extern const struct source_kind source_stream, source_jsonl, source_text, source_tsv, source_tar, source_dir,
    source_lmdb, source_link;
extern const struct sink_kind sink_stream, sink_jsonl, sink_text, sink_tar, sink_dir, sink_lmdb, sink_link;

#endif
