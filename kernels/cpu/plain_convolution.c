/*
 * Plain kernels: convolution. Weights are first copied to [tap, in, out], where a tap is one of kernel x kernel places,
 * so that the inner loop runs along a pixel's channels.
 */
#include "common/mem.h"
#include "kernels/cpu/plain.h"
#include <stdlib.h>

/* The picture position that tap (row, column) of output position (y, x) reads, as a pixel's index; -1: padding. */
static ptrdiff_t tap_pixel(const struct conv_shape *s, int n, int y, int x, int row, int column)
{
    int py = y + row - s->kernel / 2, px = x + column - s->kernel / 2;
    if (py < 0 || py >= s->height || px < 0 || px >= s->width)
        return -1;
    return ((ptrdiff_t)n * s->height + py) * s->width + px;
}

/* sum [out] += pixel [in] w [in, out] */
static void add_product(double *sum, const float *pixel, const float *w, int in, int out)
{
    for (int i = 0; i < in; i++) {
        double value = pixel[i];
        for (int o = 0; o < out; o++)
            sum[o] += value * w[(size_t)i * out + o];
    }
}

/* y [.., out] = x [.., in] * taps [kernel, kernel, in, out] + bias, the same for both directions. */
static void convolve(float *y, const float *x, const float *taps, const float *bias, const struct conv_shape *s)
{
    double *sum = xmalloc(s->out * sizeof *sum);
    for (int n = 0; n < s->batch; n++)
        for (int row = 0; row < s->height; row++)
            for (int column = 0; column < s->width; column++, y += s->out) {
                for (int o = 0; o < s->out; o++)
                    sum[o] = bias ? bias[o] : 0;
                for (int t = 0; t < s->kernel * s->kernel; t++) {
                    ptrdiff_t from = tap_pixel(s, n, row, column, t / s->kernel, t % s->kernel);
                    if (from >= 0)
                        add_product(sum, x + from * s->in, taps + (size_t)t * s->in * s->out, s->in, s->out);
                }
                for (int o = 0; o < s->out; o++)
                    y[o] = (float)sum[o];
            }
    free(sum);
}

static void conv(struct tensor y, struct tensor x, struct tensor w_t, struct tensor bias, const struct conv_shape *s)
{
    int taps = s->kernel * s->kernel;
    const float *w = w_t.data;
    float *by_tap = xmalloc((size_t)taps * s->in * s->out * sizeof *by_tap);
    for (int o = 0; o < s->out; o++)
        for (int i = 0; i < s->in; i++)
            for (int t = 0; t < taps; t++)
                by_tap[((size_t)t * s->in + i) * s->out + o] = w[((size_t)o * s->in + i) * taps + t];
    convolve(y.data, x.data, by_tap, bias.data, s);
    free(by_tap);
}

/* The gradient of a picture is the convolution of dy with the kernel turned by half a turn, in and out exchanged. */
static void conv_backward_input(float *dx, const float *dy, const float *w, const struct conv_shape *s)
{
    int taps = s->kernel * s->kernel;
    float *turned = xmalloc((size_t)taps * s->in * s->out * sizeof *turned);
    for (int o = 0; o < s->out; o++)
        for (int i = 0; i < s->in; i++)
            for (int t = 0; t < taps; t++)
                turned[((size_t)(taps - 1 - t) * s->out + o) * s->in + i] = w[((size_t)o * s->in + i) * taps + t];
    struct conv_shape back = *s;
    back.in = s->out;
    back.out = s->in;
    convolve(dx, dy, turned, NULL, &back);
    free(turned);
}

/* One tap's share of dw: sums [in, out] over all pixels. */
static void tap_gradient(double *sums, const float *dy, const float *x, int tap, const struct conv_shape *s)
{
    for (int i = 0; i < s->in * s->out; i++)
        sums[i] = 0;
    for (int n = 0; n < s->batch; n++)
        for (int row = 0; row < s->height; row++)
            for (int column = 0; column < s->width; column++, dy += s->out) {
                ptrdiff_t from = tap_pixel(s, n, row, column, tap / s->kernel, tap % s->kernel);
                for (int i = 0; from >= 0 && i < s->in; i++) {
                    double value = x[from * s->in + i];
                    for (int o = 0; o < s->out; o++)
                        sums[(size_t)i * s->out + o] += value * dy[o];
                }
            }
}

static void conv_backward(struct tensor dx, struct tensor dw_t, struct tensor dbias_t, struct tensor dy_t,
                          struct tensor x, struct tensor w, const struct conv_shape *s)
{
    if (dx.data)
        conv_backward_input(dx.data, dy_t.data, w.data, s);
    int taps = s->kernel * s->kernel;
    float *dw = dw_t.data, *dbias = dbias_t.data;
    const float *dy = dy_t.data;
    double *sums = xmalloc((size_t)s->in * s->out * sizeof *sums);
    for (int t = 0; t < taps; t++) {
        tap_gradient(sums, dy, x.data, t, s);
        for (int o = 0; o < s->out; o++)
            for (int i = 0; i < s->in; i++)
                dw[((size_t)o * s->in + i) * taps + t] += (float)sums[(size_t)i * s->out + o];
    }
    free(sums);
    size_t pixels = (size_t)s->batch * s->height * s->width;
    for (int o = 0; dbias && o < s->out; o++) {
        double sum = 0;
        for (size_t p = 0; p < pixels; p++)
            sum += dy[p * s->out + o];
        dbias[o] += (float)sum;
    }
}

void plain_convolution(struct kernels *k)
{
    k->conv = conv;
    k->conv_backward = conv_backward;
}
