/*
 * bench-picture DVAE SIDE FILE...: where a picture's time goes on its way through encode, step by step, one after the
 * other: reading the file, its header, decoding to the square, the network, the store. Milliseconds a picture, the mean
 * over the files in the best of some rounds. DVAE: a safetensors file or encoder.pkl; SIDE: for one that does not say.
 */
#include "common/clock.h"
#include "common/err.h"
#include "common/image.h"
#include "common/store.h"
#include "models/dvae.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { READ, HEADER, DECODE, NETWORK, STORE, STEPS, ROUNDS = 3 };

static void must(int rc)
{
    if (rc == 0)
        return;
    fprintf(stderr, "bench-picture: %s\n", err_text());
    exit(err_code());
}

/* Adds what each step took to `spent`. */
static void one(struct dvae *d, struct store *store, uint64_t id, const char *path, double spent[STEPS])
{
    struct buf file = {0};
    struct image im;
    struct record r = {0};
    int width, height;
    size_t cells = (size_t)dvae_grid(d) * (size_t)dvae_grid(d);
    int32_t *codes = xmalloc(cells * sizeof *codes);
    double at[STEPS + 1] = {clock_now()};
    must(file_read(path, 1 << 30, &file));
    at[READ + 1] = clock_now();
    must(image_size(file.data, file.len, &width, &height));
    at[HEADER + 1] = clock_now();
    must(image_decode_square(&im, file.data, file.len, dvae_side(d), &width, &height));
    at[DECODE + 1] = clock_now();
    dvae_encode(d, im.rgb, 1, codes);
    at[NETWORK + 1] = clock_now();
    record_set_u64(&r, FIELD_ID, id);
    record_set_ints(&r, FIELD_CODES, codes, cells);
    must(store_put(store, &r));
    at[STORE + 1] = clock_now();
    for (int i = 0; i < STEPS; i++)
        spent[i] += at[i + 1] - at[i];
    record_free(&r);
    image_free(&im);
    buf_free(&file);
    free(codes);
}

int main(int argc, char **argv)
{
    int side = argc > 3 ? (int)strtol(argv[2], NULL, 10) : 0, files = argc - 3;
    if (side < 8) {
        fprintf(stderr, "usage: bench-picture DVAE SIDE FILE...\n");
        return ERR_USAGE;
    }
    char directory[] = "/tmp/bench-picture.XXXXXX";
    struct dvae *d;
    struct store *store;
    const struct kernels *k = kernels_cpu();
    if (!k || !mkdtemp(directory))
        return ERR_IO;
    char *path = xasprintf("%s/codes", directory), *clean = xasprintf("rm -r %s", directory);
    must(dvae_open(&d, k, argv[1], NULL, side, 1));
    must(store_open_write(&store, path, NULL));
    uint64_t id = 0;
    double best[STEPS] = {0};
    for (int round = 0; round < ROUNDS; round++) {
        double spent[STEPS] = {0};
        for (int i = 0; i < files; i++)
            one(d, store, id++, argv[i + 3], spent);
        double start = clock_now();
        must(store_commit(store));
        spent[STORE] += clock_now() - start;
        for (int i = 0; i < STEPS; i++)
            best[i] = round ? fmin(best[i], spent[i]) : spent[i];
    }
    static const char *const names[STEPS] = {"file", "header", "decode", "network", "store"};
    for (int i = 0; i < STEPS; i++)
        printf("%s %.3f%s", names[i], best[i] * 1e3 / files, i + 1 < STEPS ? ", " : " ms\n");
    must(store_close(&store));
    dvae_free(&d);
    int rc = system(clean); /* NOLINT(cert-env33-c) */
    free(path);
    free(clean);
    return rc;
}
