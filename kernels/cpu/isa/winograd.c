/*
 * Fast kernels: 3x3 convolution by Winograd's method F(4x4, 3x3) (Lavin and Gray, arXiv 1509.09308), with a quarter of
 * the multiplications. Each tile of 6x6 pixels becomes 36 numbers a channel; the convolution is then 36 products over
 * the channels; and each 36 results become 4x4 pixels.
 *
 * The polynomials are interpolated at 0, +-A, +-B and infinity with A = sqrt(1/2), B = sqrt(2). The usual 1 and 2 cost
 * as much and lose two bits more.
 *
 * A task takes a block of tiles and of output channels through all three steps, so that what is between them stays in
 * the second cache. Few tiles and many channels are best: weights are called ahead of their use (tile.c), but tiles are
 * transformed again for every block of output channels. The sum over channels is one chain in their order, so blocks do
 * not change the result.
 */
#include "kernels/cpu/isa/inference.h"

enum {
    PIXELS = 4,           /* of an output tile's side */
    SIDE = 6,             /* of an input tile */
    POINTS = SIDE * SIDE, /* products */
#ifdef __AVX512F__
    TILES = 16, /* of a block; whole register tiles of rows */
#else
    TILES = 18,
#endif
    IN_BLOCK = 256,  /* channels transformed at a time */
    OUT_BLOCK = 256, /* channels of a task */
    PADDING = 16     /* floats between products, which would lie a power of two apart and share cache lines */
};

#define A 0.70710678118654752
#define B 1.41421356237309505

/* Floats between the inputs of two products, and between their results. */
static inline size_t in_step(void)
{
    return (size_t)TILES * IN_BLOCK + PADDING;
}
static inline size_t out_step(void)
{
    return (size_t)TILES * OUT_BLOCK + PADDING;
}

/* t = B^T d: six numbers of six, t's `step` vectors apart. The even and odd halves of the polynomials are shared. */
static inline __attribute__((always_inline)) void transform_in(lanes *t, const int step, const lanes *d)
{
    const float a = A, b = B;
    lanes even_a = d[4] - 2.0f * d[2], odd_a = d[3] - 2.0f * d[1];
    lanes even_b = d[4] - 0.5f * d[2], odd_b = d[3] - 0.5f * d[1];
    t[0] = d[0] - 2.5f * d[2] + d[4];
    t[step] = even_a + a * odd_a;
    t[2 * step] = even_a - a * odd_a;
    t[3 * step] = even_b + b * odd_b;
    t[4 * step] = even_b - b * odd_b;
    t[5 * step] = d[1] - 2.5f * d[3] + d[5];
}

/* t = A^T d: four numbers of six. */
static inline __attribute__((always_inline)) void transform_out(lanes *t, const int step, const lanes *d)
{
    const float a = A, b = B;
    lanes sum_a = d[1] + d[2], odd_a = a * (d[1] - d[2]), sum_b = d[3] + d[4], odd_b = b * (d[3] - d[4]);
    t[0] = d[0] + sum_a + sum_b;
    t[step] = odd_a + odd_b;
    t[2 * step] = 0.5f * sum_a + 2.0f * sum_b;
    t[3 * step] = 0.5f * odd_a + 2.0f * odd_b + d[5];
}

/* The numbers G g G^T that stand for a kernel g [3, 3]. */
static void transform_kernel(double *to, const float *g)
{
    static const double point[SIDE - 1] = {0, A, -A, B, -B};
    double matrix[SIDE][3] = {[SIDE - 1] = {0, 0, 1}}, half[SIDE][3];
    for (int i = 0; i < SIDE - 1; i++) {
        double norm = 1;
        for (int j = 0; j < SIDE - 1; j++)
            norm *= i == j ? 1 : point[i] - point[j];
        for (int j = 0; j < 3; j++)
            matrix[i][j] = (j == 0 ? 1 : j == 1 ? point[i] : point[i] * point[i]) / norm;
    }
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < 3; j++)
            half[i][j] = matrix[i][0] * g[j] + matrix[i][1] * g[3 + j] + matrix[i][2] * g[6 + j];
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++)
            to[i * SIDE + j] = half[i][0] * matrix[j][0] + half[i][1] * matrix[j][1] + half[i][2] * matrix[j][2];
}

bool FN(winograd_suits)(const struct conv_shape *s)
{
    return s->kernel == 3 && s->in >= 32 && s->out >= 16 && s->in % VEC == 0 && s->out % VEC == 0 &&
           s->height >= PIXELS && s->width >= PIXELS;
}

size_t FN(winograd_size)(const struct conv_shape *s)
{
    return POINTS * pack_size(s->in, s->out);
}

/* Columns of weights that a block of output channels from `out` on takes: whole panels. */
static int columns_from(const struct conv_shape *s, int out)
{
    return (int)round_up(smaller(OUT_BLOCK, s->out - out), WIDE);
}

/* Where the weights of a block of channels start, in the order in which tasks read them:
 * [out block][in block][point][panel][channel of in block][WIDE]. */
static size_t weights_at(const struct conv_shape *s, int out, int in)
{
    return POINTS * ((size_t)out * s->in + (size_t)in * columns_from(s, out));
}

/* The kernel from input channel i to output channel o: of a picture's gradient, the way back through w turned. */
static void kernel_of(float *kernel, const float *w, const struct conv_shape *s, int o, int i, bool turned)
{
    for (int tap = 0; tap < 9; tap++)
        kernel[tap] = turned ? w[((size_t)i * s->out + o) * 9 + 8 - tap] : w[((size_t)o * s->in + i) * 9 + tap];
}

void FN(winograd_pack)(float *to, const float *w, const struct conv_shape *s, bool turned)
{
    int columns = (int)round_up(s->out, WIDE);
    PARALLEL_FOR(FN(winograd_size)(s) * 8)
    for (int o = 0; o < columns; o++)
        for (int i = 0; i < s->in; i++) {
            double numbers[POINTS] = {0};
            int out = o / OUT_BLOCK * OUT_BLOCK;
            int in = i / IN_BLOCK * IN_BLOCK, ins = smaller(IN_BLOCK, s->in - in);
            float *at = to + weights_at(s, out, in) + ((size_t)(o - out) / WIDE * ins + i - in) * WIDE + o % WIDE;
            if (o < s->out) {
                float kernel[9];
                kernel_of(kernel, w, s, o, i, turned);
                transform_kernel(numbers, kernel);
            }
            for (int p = 0; p < POINTS; p++)
                at[(size_t)p * ins * columns_from(s, out)] = (float)numbers[p];
        }
}

/* What a task works on. */
struct task {
    const struct conv_shape *s;
    const struct conv_fusion *f;
    const float *x, *packed, *bias;
    float *y;
    int across;       /* tiles in a row of the picture */
    int first, tiles; /* in raster order */
    int out, outs;    /* channels */
};

/* One tile's numbers for all products: to + point * in_step() + c, from the pixels' channels c. The next tile's pixels
 * are called meanwhile, into the second cache: they lie in too many places for the processor to foresee them, and too
 * many of them share lines of the first. */
static inline __attribute__((always_inline)) void tile_in(float *to, const float *const *pixel,
                                                          const float *const *next, int channels, const bool relu)
{
    for (int c = 0; c < channels; c += VEC) {
        for (int p = 0; p < POINTS; p++)
            __builtin_prefetch(next[p] + c, 0, 2);
        lanes d[SIDE], half[POINTS], done[SIDE];
#pragma GCC unroll 6
        for (int column = 0; column < SIDE; column++) {
#pragma GCC unroll 6
            for (int row = 0; row < SIDE; row++) {
                lanes from = *(const lanes *)(pixel[row * SIDE + column] + c);
                d[row] = relu ? positive(from) : from;
            }
            transform_in(half + column, SIDE, d);
        }
#pragma GCC unroll 6
        for (int row = 0; row < SIDE; row++) {
            transform_in(done, 1, half + row * SIDE);
#pragma GCC unroll 6
            for (int column = 0; column < SIDE; column++)
                *(lanes *)(to + (row * SIDE + column) * in_step() + c) = done[column];
        }
    }
}

/* The pixels of tile `index` from an input channel on; zeros around the picture. */
static void find_pixels(const float **pixel, const struct task *t, int index, int channel)
{
    static const float zeros[IN_BLOCK];
    const struct conv_shape *s = t->s;
    int top = index / t->across * PIXELS - 1, left = index % t->across * PIXELS - 1;
    for (int p = 0; p < POINTS; p++) {
        int row = top + p / SIDE, column = left + p % SIDE;
        bool inside = row >= 0 && row < s->height && column >= 0 && column < s->width;
        pixel[p] = inside ? t->x + ((size_t)row * s->width + column) * s->in + channel : zeros;
    }
}

/* v [point][tile][channels] from input channels channel .. channel + channels - 1. */
static void tiles_in(float *v, const struct task *t, int channel, int channels)
{
    const float *pixel[2][POINTS];
    find_pixels(pixel[0], t, t->first, channel);
    for (int i = 0; i < t->tiles; i++, v += channels) {
        const float **now = pixel[i % 2], **next = pixel[(i + 1) % 2];
        find_pixels(next, t, t->first + smaller(i + 1, t->tiles - 1), channel);
        if (t->f->relu_in)
            tile_in(v, now, next, channels, true);
        else
            tile_in(v, now, next, channels, false);
    }
}

/* m [point][tile][outs] = or += the products over `channels` channels from `channel` on. */
static void multiply(float *m, const float *v, const struct task *t, int channel, int channels)
{
    const float *panels = t->packed + weights_at(t->s, t->out, channel);
    const size_t step = (size_t)channels * columns_from(t->s, t->out);
    for (int p = 0; p < POINTS; p++, m += out_step(), v += in_step(), panels += step) {
        struct block b = {.a = v,
                          .a_row = channels,
                          .a_col = 1,
                          .b = panels,
                          .b_panel = (ptrdiff_t)channels * WIDE,
                          .b_row = WIDE,
                          .start = channel > 0 ? m : NULL,
                          .start_row = t->outs,
                          .c = m,
                          .c_row = t->outs,
                          .outer = 1,
                          .depth = channels};
        FN(block_run)(&b, t->tiles, t->outs);
    }
}

/* The output pixels of a tile. */
struct pixels {
    float *corner;
    int rows, columns;
};

static struct pixels pixels_of(const struct task *t, int index)
{
    const struct conv_shape *s = t->s;
    int top = index / t->across * PIXELS, left = index % t->across * PIXELS;
    return (struct pixels){t->y + ((size_t)top * s->width + left) * s->out + t->out, smaller(PIXELS, s->height - top),
                           smaller(PIXELS, s->width - left)};
}

/* One tile's results, from m + point * out_step(). The next tile's pixels are called meanwhile. */
static void tile_out(const struct task *t, const float *m, struct pixels now, struct pixels next)
{
    const size_t across = t->s->out, down = across * t->s->width;
    for (int c = 0; c < t->outs; c += VEC) {
        for (int p = 0; p < next.rows * next.columns; p++)
            __builtin_prefetch(next.corner + p / next.columns * down + p % next.columns * across + c, 1, 2);
        lanes d[SIDE], half[PIXELS * SIDE], done[PIXELS];
        lanes bias = t->bias ? *(const lanes *)(t->bias + t->out + c) : (lanes){0};
#pragma GCC unroll 6
        for (int column = 0; column < SIDE; column++) {
#pragma GCC unroll 6
            for (int row = 0; row < SIDE; row++)
                d[row] = *(const lanes *)(m + (row * SIDE + column) * out_step() + c);
            transform_out(half + column, SIDE, d);
        }
        for (int row = 0; row < now.rows; row++) {
            transform_out(done, 1, half + row * SIDE);
            for (int column = 0; column < now.columns; column++)
                fuse(now.corner + row * down + column * across + c, done[column] + bias, t->f);
        }
    }
}

static void tiles_out(const struct task *t, const float *m)
{
    struct pixels now = pixels_of(t, t->first);
    for (int i = 0; i < t->tiles; i++, m += t->outs) {
        struct pixels next = pixels_of(t, t->first + smaller(i + 1, t->tiles - 1));
        tile_out(t, m, now, next);
        now = next;
    }
}

size_t FN(winograd_scratch)(void)
{
    return POINTS * (in_step() + out_step());
}

void FN(winograd)(float *y, const float *x, const float *packed, const float *bias, const struct conv_shape *s,
                  const struct conv_fusion *f, const struct scratch *scratch)
{
    int across = ceil_div(s->width, PIXELS), tiles = across * ceil_div(s->height, PIXELS);
    int blocks = ceil_div(tiles, TILES), parts = ceil_div(s->out, OUT_BLOCK);
    size_t pixels = (size_t)s->height * s->width;
    PARALLEL_PARTS((size_t)s->batch * pixels * s->in * s->out)
    for (int task = 0; task < s->batch * parts * blocks; task++) {
        int picture = task / (parts * blocks), part = task / blocks % parts, block = task % blocks;
        float *v = scratch_mine(scratch), *m = v + POINTS * in_step();
        struct task t = {s,
                         f,
                         x + picture * pixels * s->in,
                         packed,
                         bias,
                         y + picture * pixels * s->out,
                         .across = across,
                         .first = part_start(tiles, block, blocks),
                         .out = part * OUT_BLOCK,
                         .outs = smaller(OUT_BLOCK, s->out - part * OUT_BLOCK)};
        t.tiles = part_start(tiles, block + 1, blocks) - t.first;
        for (int channel = 0; channel < s->in; channel += IN_BLOCK) {
            int channels = smaller(IN_BLOCK, s->in - channel);
            tiles_in(v, &t, channel, channels);
            multiply(m, v, &t, channel, channels);
        }
        tiles_out(&t, m);
    }
}
