/*
 * libFuzzer: the first byte picks what it is. '{': a tokenizer.json, opened and used; 0: another vocabulary file behind
 * it; others up to 127: a text to train on and encode; above: a text for the vocabulary that FUZZ_VOCAB names.
 */
#include "models/bpe.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char scratch[] = "/tmp/fuzz-bpe-XXXXXX";

/* A vocabulary of the text's own words. */
static struct bpe *train(const char *text, size_t len, int vocab)
{
    struct bpe_trainer *t = bpe_trainer_new();
    struct bpe *b;
    bpe_trainer_add(t, text, len);
    if (bpe_trainer_train(t, vocab, NULL, &b))
        abort();
    bpe_trainer_free(&t);
    return b;
}

/* Encoding, with dropout too, and back: what was encoded must come back where no byte is left out. */
static void use(const struct bpe *b, const char *text, size_t len, bool whole)
{
    struct bpe_worker *w = bpe_worker_new(b);
    struct ints ids = {0}, again = {0};
    struct buf decoded = {0}, expected = {0};
    bpe_encode(w, text, len, &ids);
    bpe_decode(b, ids.data, ids.len, &expected);
    bpe_encode_dropout(w, text, len, 0.2f, 1, len, &again);
    bpe_decode(b, again.data, again.len, &decoded);
    if (whole &&
        (expected.len != decoded.len || (decoded.len && memcmp(expected.data, decoded.data, decoded.len) != 0)))
        abort();
    free(ids.data);
    free(again.data);
    buf_free(&decoded);
    buf_free(&expected);
    bpe_worker_free(&w);
}

static void open_file(const uint8_t *data, size_t size)
{
    static bool made;
    int fd = made ? -1 : mkstemp(scratch);
    if (fd >= 0)
        close(fd);
    made = true;
    FILE *f = fopen(scratch, "wb");
    fwrite(data, 1, size, f);
    fclose(f);
    struct bpe *b;
    if (bpe_open(&b, scratch))
        return;
    use(b, (const char *)data, size < 4096 ? size : 4096, false);
    bpe_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct bpe *given;
    if (size == 0)
        return 0;
    if (data[0] == 0 || data[0] == '{') {
        open_file(data + !data[0], size - !data[0]);
        return 0;
    }
    const char *text = (const char *)data + 1, *path = getenv("FUZZ_VOCAB");
    if (data[0] < 128) {
        struct bpe *b = train(text, size - 1, 256 + data[0]);
        use(b, text, size - 1, true);
        bpe_free(&b);
    } else if (path) {
        if (!given && bpe_open(&given, path))
            abort();
        use(given, text, size - 1, true);
    }
    return 0;
}
