/*
 * bench-encode ENCODER PICTURES CODES [THREADS]: for every line of stdin (a number n), encodes the first n of PICTURES
 * (raw RGB, of the side that the encoder wants), one by one, and prints the wall and the processor's seconds. CODES
 * receives the codes, int32. tests/bench/bench_encode.py turns it and its peers by turns.
 */
#include "common/clock.h"
#include "common/err.h"
#include "common/mem.h"
#include "models/dvae.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int fail(void)
{
    fprintf(stderr, "bench-encode: %s\n", err_text());
    return err_code();
}

int main(int argc, char **argv)
{
    if (argc < 4 || argc > 5) {
        fprintf(stderr, "usage: bench-encode ENCODER PICTURES CODES [THREADS]\n");
        return ERR_USAGE;
    }
    struct dvae *d;
    struct buf pictures = {0};
    const struct kernels *k = kernels_cpu();
    kernels_set_threads(argc == 5 ? (int)strtol(argv[4], NULL, 10) : 0);
    if (!k || dvae_open(&d, k, argv[1], NULL, 256, 1) || file_read(argv[2], 1 << 30, &pictures))
        return fail();
    size_t picture = (size_t)dvae_side(d) * (size_t)dvae_side(d) * 3,
           cells = (size_t)dvae_grid(d) * (size_t)dvae_grid(d);
    size_t count = pictures.len / picture, n;
    int32_t *codes = xcalloc(count * cells, sizeof *codes);
    char line[32];
    while (fgets(line, sizeof line, stdin)) {
        n = strtoul(line, NULL, 10);
        n = n < count ? n : count;
        double wall = clock_seconds(CLOCK_MONOTONIC), processor = clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
        for (size_t i = 0; i < n; i++)
            dvae_encode(d, pictures.data + i * picture, 1, codes + i * cells);
        printf("%.6f %.6f\n", clock_seconds(CLOCK_MONOTONIC) - wall,
               clock_seconds(CLOCK_PROCESS_CPUTIME_ID) - processor);
        fflush(stdout);
    }
    int rc = file_write(argv[3], codes, count * cells * sizeof *codes);
    free(codes);
    buf_free(&pictures);
    dvae_free(&d);
    return rc ? fail() : 0;
}
