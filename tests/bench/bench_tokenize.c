/*
 * bench-tokenize [CAPTIONS [VOCAB]]: captions, one a line (gzipped or not), are trained on, 16,384 tokens, and encoded
 * on one core, plain and with 10% dropout; MB/s of the text. bench_tokenize.sh puts peers beside it.
 */
#include "common/clock.h"
#include "common/err.h"
#include "models/bpe.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zlib.h>

#define CAPTIONS "../shared/captions/english.txt.gz"
enum { VOCAB = 16384 };
static const double bench_seconds = 2; /* for each figure */

/* Encodes all lines once; the number of ids. */
static size_t encode_lines(struct bpe_worker *w, const struct buf *text, float dropout, struct ints *ids)
{
    size_t count = 0;
    uint64_t number = 0;
    const char *line = (const char *)text->data, *end = line + text->len;
    for (const char *stop; line < end; line = stop + 1, number++) {
        stop = memchr(line, '\n', (size_t)(end - line));
        stop = stop ? stop : end;
        ids->len = 0;
        if (dropout > 0)
            bpe_encode_dropout(w, line, (size_t)(stop - line), dropout, 1, number, ids);
        else
            bpe_encode(w, line, (size_t)(stop - line), ids);
        count += ids->len;
    }
    return count;
}

static void measure(const char *name, struct bpe_worker *w, const struct buf *text, float dropout)
{
    struct ints ids = {0};
    size_t count = encode_lines(w, text, dropout, &ids), rounds = 0;
    double start = clock_seconds(CLOCK_THREAD_CPUTIME_ID), best = 1e9, total = 0;
    while (total < bench_seconds) {
        double before = clock_seconds(CLOCK_THREAD_CPUTIME_ID);
        encode_lines(w, text, dropout, &ids);
        double took = clock_seconds(CLOCK_THREAD_CPUTIME_ID) - before;
        best = took < best ? took : best;
        total = clock_seconds(CLOCK_THREAD_CPUTIME_ID) - start;
        rounds++;
    }
    printf("%-34s %8.1f MB/s (best %.1f), %zu ids\n", name, 1e-6 * (double)text->len * (double)rounds / total,
           1e-6 * (double)text->len / best, count);
    free(ids.data);
}

static int read_captions(const char *path, struct buf *text)
{
    gzFile f = gzopen(path, "rb");
    if (!f)
        return -1;
    int n;
    do {
        buf_reserve(text, 1 << 20);
        n = gzread(f, text->data + text->len, 1 << 20);
        text->len += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    gzclose(f);
    return n;
}

static int train(const struct buf *text, struct bpe **b)
{
    struct bpe_trainer *t = bpe_trainer_new();
    double start = clock_seconds(CLOCK_THREAD_CPUTIME_ID);
    const char *line = (const char *)text->data, *end = line + text->len;
    for (const char *stop; line < end; line = stop + 1) {
        stop = memchr(line, '\n', (size_t)(end - line));
        stop = stop ? stop : end;
        bpe_trainer_add(t, line, (size_t)(stop - line));
    }
    double counted = clock_seconds(CLOCK_THREAD_CPUTIME_ID);
    int result = bpe_trainer_train(t, VOCAB, NULL, b);
    if (result == 0)
        printf("%-34s %8.3f s (%.3f of it counting)\n", "atelier: train 16,384",
               clock_seconds(CLOCK_THREAD_CPUTIME_ID) - start, counted - start);
    bpe_trainer_free(&t);
    return result;
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : CAPTIONS;
    struct bpe *b;
    struct buf text = {0};
    if (read_captions(path, &text)) {
        printf("bench-tokenize: no captions in %s, nothing measured\n", path);
        return 0;
    }
    if (argc > 2 ? bpe_open(&b, argv[2]) : train(&text, &b)) {
        fprintf(stderr, "bench-tokenize: %s\n", err_text());
        return err_code();
    }
    struct bpe_worker *w = bpe_worker_new(b);
    measure("atelier: encode", w, &text, 0);
    measure("atelier: encode, 10% dropout", w, &text, 0.1f);
    bpe_worker_free(&w);
    bpe_free(&b);
    buf_free(&text);
    return 0;
}
