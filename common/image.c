/* Pictures in memory: cropping, resizing by area and by Pillow's bicubic filter. */
#include "common/image_private.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void image_free(struct image *im)
{
    free(im->rgb);
    *im = (struct image){0};
}

void image_alloc(struct image *im, int width, int height)
{
    *im = (struct image){width, height, xmalloc((size_t)width * height * 3)};
}

void image_crop(const struct image *in, int x, int y, int w, int h, struct image *out)
{
    image_alloc(out, w, h);
    for (int row = 0; row < h; row++)
        memcpy(out->rgb + (size_t)row * w * 3, in->rgb + ((size_t)(y + row) * in->width + x) * 3, (size_t)w * 3);
}

void image_flip(struct image *im)
{
    for (int y = 0; y < im->height; y++) {
        uint8_t *row = im->rgb + (size_t)y * im->width * 3;
        for (int a = 0, b = im->width - 1; a < b; a++, b--)
            for (int c = 0; c < 3; c++) {
                uint8_t t = row[a * 3 + c];
                row[a * 3 + c] = row[b * 3 + c];
                row[b * 3 + c] = t;
            }
    }
}

void image_paste(struct image *canvas, const struct image *im, int x, int y)
{
    int x0 = x < 0 ? -x : 0, x1 = im->width < canvas->width - x ? im->width : canvas->width - x;
    if (x1 <= x0)
        return;
    for (int row = y < 0 ? -y : 0; row < im->height && row + y < canvas->height; row++)
        memcpy(canvas->rgb + ((size_t)(row + y) * canvas->width + x + x0) * 3,
               im->rgb + ((size_t)row * im->width + x0) * 3, (size_t)(x1 - x0) * 3);
}

struct image_span *image_spans(double start, double length, int in, int out)
{
    double step = length / out;
    int most = (int)ceil(step) + 2;
    struct image_span *s = xmalloc((size_t)out * sizeof *s + (size_t)out * most * sizeof(float));
    float *weights = (float *)(s + out);
    for (int i = 0; i < out; i++) {
        double a = fmax(0, start + i * step), b = fmin(in, start + (i + 1) * step);
        int first = (int)a < in ? (int)a : in - 1, last = (int)ceil(b) - 1;
        if (last < first)
            last = first;
        s[i] = (struct image_span){first, last - first + 1, weights + (size_t)i * most};
        double sum = 0;
        for (int p = first; p <= last; p++)
            sum += fmax(1e-9, fmin(b, p + 1) - fmax(a, p));
        for (int p = first; p <= last; p++)
            s[i].weight[p - first] = (float)(fmax(1e-9, fmin(b, p + 1) - fmax(a, p)) / sum);
    }
    return s;
}

/* sum [n] += weight * line: rows first, for this is the part that the compiler makes vectors of. */
static void add_line(float *restrict sum, const uint8_t *restrict line, float weight, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum[i] += weight * line[i];
}

typedef float colours __attribute__((vector_size(16)));

void image_resize_area(const struct image *in, double x, double y, double w, double h, int out_w, int out_h,
                       struct image *out)
{
    struct image_span *cols = image_spans(x, w, in->width, out_w), *rows = image_spans(y, h, in->height, out_h);
    int left = cols[0].first, right = cols[out_w - 1].first + cols[out_w - 1].count;
    size_t wide = (size_t)(right - left) * 3;
    float *sum = xmalloc((wide + 1) * sizeof *sum); /* the last pixel is read as the others, with a fourth colour */
    sum[wide] = 0;
    image_alloc(out, out_w, out_h);
    uint8_t *to = out->rgb;
    for (int oy = 0; oy < out_h; oy++) {
        memset(sum, 0, wide * sizeof *sum);
        for (int r = 0; r < rows[oy].count; r++)
            add_line(sum, in->rgb + ((size_t)(rows[oy].first + r) * in->width + left) * 3, rows[oy].weight[r], wide);
        for (int ox = 0; ox < out_w; ox++) {
            const float *p = sum + (size_t)(cols[ox].first - left) * 3;
            colours mean = {0.5f, 0.5f, 0.5f, 0}, pixel;
            for (int i = 0; i < cols[ox].count; i++) {
                memcpy(&pixel, p + (size_t)i * 3, sizeof pixel);
                mean += pixel * cols[ox].weight[i];
            }
            for (int c = 0; c < 3; c++)
                *to++ = (uint8_t)(mean[c] < 255 ? mean[c] : 255);
        }
    }
    free(sum);
    free(cols);
    free(rows);
}

void image_center_square(const struct image *in, int size, struct image *out)
{
    int side = in->width < in->height ? in->width : in->height;
    int x = (in->width - side) / 2, y = (in->height - side) / 2;
    image_resize_area(in, x, y, side, side, size, size, out);
}

/* Pillow's fixed point: weights have this many fraction bits. */
#define BICUBIC_BITS 22

static double bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

struct taps {
    int first, count;
    int32_t *weight;
};

static struct taps *bicubic_taps(int in, int out)
{
    double scale = (double)in / out, filter_scale = scale < 1 ? 1 : scale, support = 2 * filter_scale;
    int most = (int)ceil(support) * 2 + 1;
    struct taps *t = xmalloc((size_t)out * sizeof *t + (size_t)out * most * sizeof(int32_t));
    int32_t *weights = (int32_t *)(t + out);
    double *k = xmalloc((size_t)most * sizeof *k);
    for (int i = 0; i < out; i++) {
        double center = (i + 0.5) * scale, sum = 0;
        int first = (int)(center - support + 0.5), end = (int)(center + support + 0.5);
        first = first < 0 ? 0 : first;
        end = end > in ? in : end;
        t[i] = (struct taps){first, end - first, weights + (size_t)i * most};
        for (int p = first; p < end; p++)
            sum += k[p - first] = bicubic((p - center + 0.5) / filter_scale);
        for (int p = 0; p < end - first; p++) {
            double w = k[p] / sum * (1 << BICUBIC_BITS);
            t[i].weight[p] = (int32_t)(w < 0 ? w - 0.5 : w + 0.5);
        }
    }
    free(k);
    return t;
}

static uint8_t bicubic_round(int32_t sum)
{
    int v = sum >> BICUBIC_BITS;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

void image_resize_bicubic(const struct image *in, int out_w, int out_h, struct image *out)
{
    struct image wide;
    image_alloc(&wide, out_w, in->height);
    struct taps *t = bicubic_taps(in->width, out_w);
    for (int y = 0; y < in->height; y++)
        for (int x = 0; x < out_w; x++)
            for (int c = 0; c < 3; c++) {
                int32_t sum = 1 << (BICUBIC_BITS - 1);
                const uint8_t *p = in->rgb + ((size_t)y * in->width + t[x].first) * 3 + c;
                for (int i = 0; i < t[x].count; i++)
                    sum += p[(size_t)i * 3] * t[x].weight[i];
                wide.rgb[((size_t)y * out_w + x) * 3 + c] = bicubic_round(sum);
            }
    free(t);

    image_alloc(out, out_w, out_h);
    t = bicubic_taps(in->height, out_h);
    size_t stride = (size_t)out_w * 3;
    for (int y = 0; y < out_h; y++)
        for (size_t x = 0; x < stride; x++) {
            int32_t sum = 1 << (BICUBIC_BITS - 1);
            const uint8_t *p = wide.rgb + (size_t)t[y].first * stride + x;
            for (int i = 0; i < t[y].count; i++)
                sum += p[i * stride] * t[y].weight[i];
            out->rgb[y * stride + x] = bicubic_round(sum);
        }
    free(t);
    image_free(&wide);
}
