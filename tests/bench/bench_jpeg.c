/*
 * bench-jpeg SIDE FILE...: for every line of stdin (w: decoded whole first), brings each JPEG to its centred square of
 * SIDE pixels, once, and prints the processor's seconds. At the end, how far the two ways are apart.
 * tests/bench/bench_jpeg.py turns it and OpenCV by turns.
 */
#include "common/clock.h"
#include "common/err.h"
#include "common/image.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void whole(struct image *im, const struct buf *file, int side)
{
    struct image all;
    if (image_decode(&all, file->data, file->len, 0, 1)) {
        fprintf(stderr, "bench-jpeg: %s\n", err_text());
        exit(ERR_DATA);
    }
    image_center_square(&all, side, im);
    image_free(&all);
}

static void reduced(struct image *im, const struct buf *file, int side)
{
    int width, height;
    if (image_decode_square(im, file->data, file->len, side, &width, &height)) {
        fprintf(stderr, "bench-jpeg: %s\n", err_text());
        exit(ERR_DATA);
    }
}

static void compare(const char *name, const struct buf *file, int side)
{
    struct image a, b;
    double sum = 0, square = 0;
    int most = 0, n = side * side * 3, width, height;
    whole(&a, file, side);
    reduced(&b, file, side);
    image_size(file->data, file->len, &width, &height);
    for (int i = 0; i < n; i++) {
        int d = abs(a.rgb[i] - b.rgb[i]);
        sum += d;
        square += d * d;
        most = d > most ? d : most;
    }
    printf("%dx%d by %d: mean difference %.3f of 255, most %d, PSNR %.1f dB  %s\n", width, height,
           image_reduction(width, height, side), sum / n, most, 10 * log10(255.0 * 255 * n / fmax(square, 1)), name);
    image_free(&a);
    image_free(&b);
}

int main(int argc, char **argv)
{
    int side = argc > 2 ? (int)strtol(argv[1], NULL, 10) : 0, count = argc - 2;
    if (side < 1) {
        fprintf(stderr, "usage: bench-jpeg SIDE FILE...\n");
        return ERR_USAGE;
    }
    struct buf *files = xcalloc((size_t)count, sizeof *files);
    for (int i = 0; i < count; i++)
        if (file_read(argv[i + 2], 1 << 28, &files[i])) {
            fprintf(stderr, "bench-jpeg: %s\n", err_text());
            return err_code();
        }
    char line[32];
    while (fgets(line, sizeof line, stdin)) {
        double start = clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
        for (int i = 0; i < count; i++) {
            struct image im = {0};
            (*line == 'w' ? whole : reduced)(&im, &files[i], side);
            image_free(&im);
        }
        printf("%.6f\n", clock_seconds(CLOCK_PROCESS_CPUTIME_ID) - start);
        fflush(stdout);
    }
    for (int i = 0; i < count; i++) {
        compare(argv[i + 2], &files[i], side);
        buf_free(&files[i]);
    }
    free(files);
    return 0;
}
