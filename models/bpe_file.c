/*
 * Vocabulary files told apart and opened: tokenizer.json (bpe_json.c) and CLIP's merges (bpe_clip.c).
 */
#include "common/err.h"
#include "models/bpe_private.h"
#include <string.h>
#include <zlib.h>

#define FILE_LIMIT ((size_t)256 << 20)

/* Reads a file, gunzipped where it is compressed. */
static int read_file(const char *path, struct buf *out)
{
    gzFile f = gzopen(path, "rb");
    if (!f)
        return err_sys("cannot open vocabulary %s", path);
    int n = 1, gz_error = Z_OK;
    while (n > 0 && out->len <= FILE_LIMIT) {
        buf_reserve(out, 1 << 16);
        n = gzread(f, out->data + out->len, 1 << 16);
        out->len += n > 0 ? (size_t)n : 0;
    }
    const char *why = gzerror(f, &gz_error);
    int result = 0;
    if (gz_error == Z_MEM_ERROR)
        mem_gone(1 << 16);
    if (gz_error == Z_ERRNO)
        result = err_sys("cannot read vocabulary %s", path);
    else if (gz_error != Z_OK)
        result = err_set(ERR_DATA, "vocabulary %s is damaged: %s", path, why);
    else if (out->len > FILE_LIMIT)
        result = err_set(ERR_DATA, "vocabulary %s is over %zu MB", path, FILE_LIMIT >> 20);
    gzclose_r(f);
    return result;
}

int bpe_open(struct bpe **b, const char *path)
{
    struct buf text = {0};
    *b = NULL;
    if (read_file(path, &text)) {
        buf_free(&text);
        return -1;
    }
    struct bpe *new = bpe_new();
    const char *start = buf_string(&text);
    start += strspn(start, " \t\r\n");
    size_t len = text.len - (size_t)(start - (const char *)text.data);
    int result = *start == '{' ? bpe_read_json(new, start, len) : bpe_read_clip(new, start, len);
    buf_free(&text);
    if (result) {
        bpe_free(&new);
        return err_wrap("vocabulary %s", path);
    }
    *b = new;
    return 0;
}
