/*
 * A JPEG's blocks to a small square (image_private.h). Each block becomes the means of its pixels in cells of
 * scale_down x scale_down, which is a product with a small matrix on either side; rows of them are averaged by area
 * into the square's; and what is left, side x side pixels, goes from YCbCr to RGB. Nothing larger than a row of MCUs is
 * held.
 */
#include "common/image_private.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_INLINE static inline __attribute__((always_inline))

typedef float lanes __attribute__((vector_size(16)));

/* Of one axis: means over cells as sums over frequencies. */
struct basis {
    int n;            /* samples of a block: 8 / scale_down, twice that where the component is subsampled by two */
    float part[8][8]; /* [frequency][sample] */
};

struct square {
    int components, side, cells; /* cells: samples of a block that is not subsampled, along an axis */
    int mcu_wide, mcu_high;      /* of an MCU, in samples */
    struct square_window window;
    struct basis down[3], across[3];
    float *band[3];      /* [mcu_high, wide]: the present row of MCUs */
    float *sum[3];       /* [wide] each: the output row in the making */
    float *pixels;       /* [wide, 4]: the same, components side by side */
    size_t wide, stride; /* of a line; a block may write on until its fourth sample */
    struct image_span *columns, *rows;
    int next; /* output row */
    struct image out;
};

static void basis_make(struct basis *b, int n)
{
    const double pi = 3.14159265358979323846;
    b->n = n;
    for (int f = 0; f < 8; f++)
        for (int s = 0; s < n; s++) {
            double sum = 0;
            for (int x = s * 8 / n; x < (s + 1) * 8 / n; x++)
                sum += cos((2 * x + 1) * f * pi / 16);
            b->part[f][s] = (float)(sum * n / 8 * (f ? 0.5 : sqrt(0.125)));
        }
}

struct square *square_new(const struct jpeg_decompress_struct *d, int scale_down, int side)
{
    int cells = 8 / scale_down, most_h = d->max_h_samp_factor, most_v = d->max_v_samp_factor;
    for (int i = 0; i < d->num_components; i++) {
        int h = most_h / d->comp_info[i].h_samp_factor, v = most_v / d->comp_info[i].v_samp_factor;
        if (h * d->comp_info[i].h_samp_factor != most_h || v * d->comp_info[i].v_samp_factor != most_v || h > 2 ||
            v > 2)
            return NULL;
    }
    struct square *s = xcalloc(1, sizeof *s);
    s->components = d->num_components;
    s->side = side;
    s->cells = cells;
    s->mcu_wide = most_h * cells;
    s->mcu_high = most_v * cells;
    for (int i = 0; i < s->components; i++) {
        basis_make(&s->across[i], cells * most_h / d->comp_info[i].h_samp_factor);
        basis_make(&s->down[i], cells * most_v / d->comp_info[i].v_samp_factor);
    }
    int width = (int)d->image_width, height = (int)d->image_height, least = width < height ? width : height;
    int left = (width - least) / 2, top = (height - least) / 2;
    double by = scale_down, length = least / by, x = left / by, y = top / by;
    int across = (width + scale_down - 1) / scale_down, down = (height + scale_down - 1) / scale_down;
    s->columns = image_spans(x, length, across, side);
    s->rows = image_spans(y, length, down, side);
    const struct image_span *right = &s->columns[side - 1], *bottom = &s->rows[side - 1];
    s->window.left = s->columns[0].first / s->mcu_wide;
    s->window.right = (right->first + right->count - 1) / s->mcu_wide + 1;
    s->window.top = s->rows[0].first / s->mcu_high;
    s->window.bottom = (bottom->first + bottom->count - 1) / s->mcu_high + 1;
    for (int i = 0; i < side; i++)
        s->columns[i].first -= s->window.left * s->mcu_wide;
    s->wide = (size_t)(s->window.right - s->window.left) * (size_t)s->mcu_wide;
    s->stride = s->wide + sizeof(lanes) / sizeof(float);
    for (int i = 0; i < s->components; i++) {
        s->band[i] = xmalloc((size_t)s->mcu_high * s->stride * sizeof(float));
        s->sum[i] = xcalloc(s->wide, sizeof(float));
    }
    s->pixels = xcalloc(s->wide, sizeof(lanes));
    image_alloc(&s->out, side, side);
    return s;
}

void square_free(struct square *s)
{
    if (!s)
        return;
    for (int i = 0; i < 3; i++) {
        free(s->band[i]);
        free(s->sum[i]);
    }
    free(s->pixels);
    free(s->columns);
    free(s->rows);
    image_free(&s->out);
    free(s);
}

struct square_window square_window(const struct square *s)
{
    return s->window;
}

/* to = 128 + the product of the bases with the block, where it is not 0, in 4 * `quads` columns. */
BLOCK_INLINE void reduce(const struct basis *down, const struct basis *across, const float block[64], uint64_t set,
                         float *to, size_t stride, int rows, int quads)
{
    lanes mid[8][2];
    unsigned columns = 0;
    memset(mid, 0, (size_t)rows * sizeof *mid);
    for (int f = 0; set; f++, set >>= 8, block += 8) {
        if (!(set & 0xFF))
            continue;
        columns |= set & 0xFF;
        lanes left, right;
        memcpy(&left, block, sizeof left);
        memcpy(&right, block + 4, sizeof right);
        for (int i = 0; i < rows; i++) {
            mid[i][0] += left * down->part[f][i];
            mid[i][1] += right * down->part[f][i];
        }
    }
    const float(*values)[8] = (const float(*)[8])mid;
    const int most = columns < 4 ? 2 : columns < 16 ? 4 : 8;
    for (int i = 0; i < rows; i++, to += stride) {
        lanes sum[2] = {{128, 128, 128, 128}, {128, 128, 128, 128}}, part;
        for (int f = 0; f < most; f++)
            for (int q = 0; q < quads; q++) {
                memcpy(&part, across->part[f] + 4 * q, sizeof part);
                sum[q] += part * values[i][f];
            }
        memcpy(to, sum, (size_t)quads * sizeof *sum);
    }
}

/* A block without anything but its mean. */
BLOCK_INLINE void fill(float value, float *to, size_t stride, int rows, int quads)
{
    for (int y = 0; y < rows; y++, to += stride)
        for (int x = 0; x < 4 * quads; x++)
            to[x] = value;
}

BLOCK_INLINE void reduce_or_fill(const struct basis *down, const struct basis *across, const float block[64],
                                 uint64_t set, float *to, size_t stride, int rows, int quads)
{
    if (set == 1)
        fill(128 + block[0] / 8, to, stride, rows, quads);
    else
        reduce(down, across, block, set, to, stride, rows, quads);
}

void square_block(struct square *s, int component, int column, int row, float block[64], uint64_t set)
{
    const struct basis *down = &s->down[component], *across = &s->across[component];
    float *to = s->band[component] + (size_t)row * down->n * s->stride + (size_t)column * across->n;
    if (across->n == 8 && down->n == 8)
        reduce_or_fill(down, across, block, set, to, s->stride, 8, 2);
    else if (across->n == 8)
        reduce_or_fill(down, across, block, set, to, s->stride, down->n, 2);
    else if (down->n == 4)
        reduce_or_fill(down, across, block, set, to, s->stride, 4, 1);
    else
        reduce_or_fill(down, across, block, set, to, s->stride, down->n, 1);
    for (; set; set >>= 8, block += 8)
        if (set & 0xFF)
            memset(block, 0, 8 * sizeof *block);
}

static uint8_t to_byte(float v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v + 0.5f);
}

static void output_row(struct square *s)
{
    const float *luma = s->sum[0], *blue = s->sum[s->components == 3], *red = s->sum[s->components - 1];
    for (size_t x = 0; x < s->wide; x++) {
        s->pixels[4 * x] = luma[x];
        s->pixels[4 * x + 1] = blue[x];
        s->pixels[4 * x + 2] = red[x];
        s->pixels[4 * x + 3] = 0;
    }
    uint8_t *to = s->out.rgb + (size_t)s->next * s->side * 3;
    for (int i = 0; i < s->side; i++, to += 3) {
        const struct image_span *span = &s->columns[i];
        lanes mean = {0}, sample;
        for (int p = 0; p < span->count; p++) {
            memcpy(&sample, s->pixels + (size_t)(span->first + p) * 4, sizeof sample);
            mean += sample * span->weight[p];
        }
        float b = s->components == 3 ? mean[1] - 128 : 0, r = s->components == 3 ? mean[2] - 128 : 0;
        to[0] = to_byte(mean[0] + 1.402f * r);
        to[1] = to_byte(mean[0] - 0.344136286f * b - 0.714136286f * r);
        to[2] = to_byte(mean[0] + 1.772f * b);
    }
    for (int i = 0; i < s->components; i++)
        memset(s->sum[i], 0, s->wide * sizeof(float));
    s->next++;
}

/* sum += weight * line, whose samples are kept within what decoding to bytes would give. */
static void add_line(float *restrict sum, const float *restrict line, float weight, size_t n)
{
    for (size_t x = 0; x < n; x++) {
        float v = line[x] > 0 ? line[x] : 0;
        sum[x] += weight * (v < 255 ? v : 255);
    }
}

void square_row_done(struct square *s, int mcu_row)
{
    for (int line = 0; line < s->mcu_high; line++) {
        int y = mcu_row * s->mcu_high + line;
        while (s->next < s->side && y >= s->rows[s->next].first) {
            const struct image_span *row = &s->rows[s->next];
            for (int i = 0; i < s->components; i++)
                add_line(s->sum[i], s->band[i] + (size_t)line * s->stride, row->weight[y - row->first], s->wide);
            if (y < row->first + row->count - 1)
                break;
            output_row(s);
        }
    }
}

void square_take(struct square *s, struct image *im)
{
    *im = s->out;
    s->out = (struct image){0};
}
