/* What a person looks at while a run goes on: picture sheets and the loss curve. */
#include "common/err.h"
#include "trainer/trainer.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GAP 2 /* pixels between the pictures of a sheet */
#define CURVE_POINTS 400
#define CURVE_W 800
#define CURVE_H 400
#define MARGIN 60

void sheet_make(const uint8_t *pictures, int count, int side, int columns, int zoom, struct image *sheet)
{
    int rows = (count + columns - 1) / columns, cell = side * zoom + GAP;
    image_alloc(sheet, columns * cell + GAP, rows * cell + GAP);
    memset(sheet->rgb, 160, (size_t)sheet->width * sheet->height * 3);
    for (int i = 0; i < count; i++) {
        const uint8_t *from = pictures + (size_t)i * side * side * 3;
        uint8_t *corner =
            sheet->rgb + (((size_t)(i / columns) * cell + GAP) * sheet->width + (size_t)(i % columns) * cell + GAP) * 3;
        for (int y = 0; y < side * zoom; y++)
            for (int x = 0; x < side * zoom; x++)
                memcpy(corner + ((size_t)y * sheet->width + x) * 3, from + ((size_t)(y / zoom) * side + x / zoom) * 3,
                       3);
    }
}

struct curve {
    double step[CURVE_POINTS], loss[CURVE_POINTS];
    int count;
};

/* Means of equal stretches of metrics.jsonl: 0 or -1. */
static int curve_read(struct curve *c, const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return err_sys("%s", path);
    char line[2048];
    size_t n = 0, cap = 0;
    double *step = NULL, *loss = NULL;
    while (fgets(line, sizeof line, f)) {
        if (n == cap) {
            cap = cap ? cap * 2 : 1024;
            step = xrealloc(step, cap * sizeof *step);
            loss = xrealloc(loss, cap * sizeof *loss);
        }
        if (sscanf(line, "{\"step\": %lf, \"loss\": %lf", &step[n], &loss[n]) == 2)
            n++;
    }
    fclose(f);
    c->count = n < CURVE_POINTS ? (int)n : CURVE_POINTS;
    for (int i = 0; i < c->count; i++) {
        size_t a = n * (size_t)i / (size_t)c->count, b = n * (size_t)(i + 1) / (size_t)c->count;
        c->step[i] = c->loss[i] = 0;
        for (size_t j = a; j < b; j++) {
            c->step[i] += step[j] / (double)(b - a);
            c->loss[i] += loss[j] / (double)(b - a);
        }
    }
    free(step);
    free(loss);
    return 0;
}

int curve_write(const char *run, const char *title)
{
    struct curve c = {.count = 0};
    char *in = xasprintf("%s/metrics.jsonl", run), *out = xasprintf("%s/curve.svg", run);
    int rc = curve_read(&c, in);
    if (!rc && c.count) {
        double low = c.loss[0], high = c.loss[0], last = c.step[c.count - 1];
        for (int i = 0; i < c.count; i++) {
            low = fmin(low, c.loss[i]);
            high = fmax(high, c.loss[i]);
        }
        double span = high > low ? high - low : 1;
        struct buf svg = {0};
        buf_printf(&svg,
                   "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" "
                   "font-size=\"13\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n"
                   "<text x=\"%d\" y=\"24\">%s: loss, %.4f after %.0f updates</text>\n",
                   CURVE_W, CURVE_H, MARGIN, title, c.loss[c.count - 1], last);
        for (int i = 0; i <= 4; i++) {
            double y = MARGIN + (CURVE_H - 2 * MARGIN) * i / 4.0, x = MARGIN + (CURVE_W - 2 * MARGIN) * i / 4.0;
            buf_printf(&svg,
                       "<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/><text x=\"4\" y=\"%.1f\">%.4g</text>"
                       "<text x=\"%.1f\" y=\"%d\">%.0f</text>\n",
                       MARGIN, y, CURVE_W - MARGIN, y + 4, high - span * i / 4, x, CURVE_H - MARGIN / 2, last * i / 4);
        }
        buf_printf(&svg, "<polyline fill=\"none\" stroke=\"#1565c0\" stroke-width=\"1.5\" points=\"");
        for (int i = 0; i < c.count; i++)
            buf_printf(&svg, "%.1f,%.1f ", MARGIN + (CURVE_W - 2 * MARGIN) * c.step[i] / last,
                       MARGIN + (CURVE_H - 2 * MARGIN) * (high - c.loss[i]) / span);
        buf_printf(&svg, "\"/>\n</svg>\n");
        rc = file_write(out, svg.data, svg.len);
        buf_free(&svg);
    }
    free(in);
    free(out);
    return rc;
}
