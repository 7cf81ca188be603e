/*
 * The record stream on stdin and stdout, kind "-". All numbers are little-endian.
 *   start   8 bytes "atelier1"
 *   record  u32 length, u32 crc32c of the length and the bytes, the record's msgpack bytes
 *   end     u32 0xFFFFFFFF, u32 crc32c of that and the count, u64 count of records
 * A stream without its end was cut: its writer failed or was stopped.
 */
#include "common/crc32c.h"
#include "common/endpoint.h"
#include "common/err.h"
#include "common/input.h"
#include "common/output.h"
#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define START "atelier1"
#define START_BYTES 8
#define END_LENGTH 0xFFFFFFFFu
#define MAX_RECORD_BYTES (384u << 20) /* over the sum of a record's limits */
#define FIRST_BYTES (1u << 20)        /* memory grows with what comes, not with what a length claims */

struct frame_head {
    uint32_t length, crc;
};

struct stream_source {
    struct input *in;
    struct buf bytes;
    uint64_t count;
    bool started;
};

struct stream_sink {
    struct output *out;
    struct buf bytes;
    uint64_t count;
};

static uint32_t frame_crc(uint32_t length, const void *data, size_t len)
{
    uint32_t little = htole32(length);
    return crc32c(crc32c(0, &little, sizeof little), data, len);
}

static int source_stream_open(void **self, const char *rest, const struct source_options *options)
{
    (void)options;
    if (isatty(STDIN_FILENO))
        return err_set(ERR_USAGE, "stdin is a terminal, and a record stream is binary: pipe one in or name a source");
    struct stream_source *s = xcalloc(1, sizeof *s);
    if (input_open(&s->in, rest) < 0) {
        free(s);
        return -1;
    }
    *self = s;
    return 0;
}

static int cut(const struct stream_source *s)
{
    return err_set(ERR_AGAIN,
                   "%s: stream cut after %" PRIu64 " records: the program that wrote it failed or was stopped",
                   input_name(s->in), s->count);
}

/* Reads exactly `len` bytes: 0 or -1. */
static int take(struct stream_source *s, void *to, size_t len)
{
    ssize_t got = input_read(s->in, to, len);
    if (got < 0)
        return -1;
    return (size_t)got == len ? 0 : cut(s);
}

static int take_payload(struct stream_source *s, size_t len)
{
    s->bytes.len = 0;
    while (s->bytes.len < len) {
        size_t part = len - s->bytes.len, most = s->bytes.len > FIRST_BYTES ? s->bytes.len : FIRST_BYTES;
        if (part > most)
            part = most;
        if (buf_try(&s->bytes, part, MAX_RECORD_BYTES, input_name(s->in)) < 0 ||
            take(s, s->bytes.data + s->bytes.len, part) < 0)
            return -1;
        s->bytes.len += part;
    }
    return 0;
}

static int damaged(const struct stream_source *s, const char *what)
{
    return err_set(ERR_DATA, "%s: stream damaged after %" PRIu64 " records: %s", input_name(s->in), s->count, what);
}

static int take_end(struct stream_source *s, uint32_t crc)
{
    uint64_t count;
    char more;
    if (take(s, &count, sizeof count) < 0)
        return -1;
    if (frame_crc(END_LENGTH, &count, sizeof count) != crc)
        return damaged(s, "wrong checksum of the end mark");
    if (le64toh(count) != s->count)
        return damaged(s, "its end mark counts others");
    ssize_t got = input_read(s->in, &more, 1);
    return got == 1 ? damaged(s, "bytes behind its end mark") : (int)got;
}

static int take_start(struct stream_source *s)
{
    char start[START_BYTES];
    ssize_t got = input_read(s->in, start, sizeof start);
    if (got < 0)
        return -1;
    if (memcmp(start, START, (size_t)got) != 0)
        return err_set(ERR_DATA, "%s: not a record stream; name what it is, as in --in jsonl:- or text:-",
                       input_name(s->in));
    s->started = true;
    return 0;
}

static int source_stream_next(void *self, struct record *r)
{
    struct stream_source *s = self;
    struct frame_head head;
    if ((!s->started && take_start(s) < 0) || take(s, &head, sizeof head) < 0)
        return -1;
    uint32_t length = le32toh(head.length), crc = le32toh(head.crc);
    if (length == END_LENGTH)
        return take_end(s, crc);
    if (length > MAX_RECORD_BYTES)
        return damaged(s, "a length over the limit");
    if (take_payload(s, length) < 0)
        return -1;
    if (frame_crc(length, s->bytes.data, length) != crc)
        return damaged(s, "wrong checksum");
    if (record_unpack(r, s->bytes.data, length) < 0)
        return err_wrap("%s: record %" PRIu64 " of the stream", input_name(s->in), s->count);
    s->count++;
    return 1;
}

static void source_stream_close(void *self)
{
    struct stream_source *s = self;
    input_close(&s->in);
    buf_free(&s->bytes);
    free(s);
}

static int sink_stream_open(void **self, const char *rest, const struct sink_options *options)
{
    (void)options;
    if (isatty(STDOUT_FILENO))
        return err_set(ERR_USAGE, "stdout is a terminal, and a record stream is binary: pipe it into another program, "
                                  "or give --out (jsonl:- shows records)");
    struct stream_sink *s = xcalloc(1, sizeof *s);
    if (output_open(&s->out, rest) < 0 || output_write(s->out, START, START_BYTES) < 0) {
        output_close(&s->out);
        free(s);
        return -1;
    }
    *self = s;
    return 0;
}

static int put_frame(struct stream_sink *s, uint32_t length, size_t bytes)
{
    unsigned char *payload = s->bytes.data + sizeof(struct frame_head);
    struct frame_head head = {htole32(length), htole32(frame_crc(length, payload, bytes))};
    memcpy(s->bytes.data, &head, sizeof head);
    return output_write(s->out, s->bytes.data, sizeof head + bytes);
}

static int sink_stream_put(void *self, const struct record *r)
{
    struct stream_sink *s = self;
    s->bytes.len = 0;
    buf_append(&s->bytes, &(struct frame_head){0}, sizeof(struct frame_head));
    record_pack(r, &s->bytes);
    size_t bytes = s->bytes.len - sizeof(struct frame_head);
    if (bytes > MAX_RECORD_BYTES)
        return err_set(ERR_BUG, "record %" PRIu64 ": %zu bytes, limit %u", r->id, bytes, MAX_RECORD_BYTES);
    s->count++;
    return put_frame(s, (uint32_t)bytes, bytes);
}

static int sink_stream_finish(void *self)
{
    struct stream_sink *s = self;
    uint64_t count = htole64(s->count);
    s->bytes.len = 0;
    buf_append(&s->bytes, &(struct frame_head){0}, sizeof(struct frame_head));
    buf_append(&s->bytes, &count, sizeof count);
    return put_frame(s, END_LENGTH, sizeof count) < 0 ? -1 : output_finish(s->out);
}

static void sink_stream_close(void *self)
{
    struct stream_sink *s = self;
    output_close(&s->out);
    buf_free(&s->bytes);
    free(s);
}

const struct source_kind source_stream = {
    .scheme = "-", .open = source_stream_open, .next = source_stream_next, .close = source_stream_close};
const struct sink_kind sink_stream = {.scheme = "-",
                                      .open = sink_stream_open,
                                      .put = sink_stream_put,
                                      .finish = sink_stream_finish,
                                      .close = sink_stream_close};
