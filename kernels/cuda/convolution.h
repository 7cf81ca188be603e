/*
 * What the convolutions share. A convolution is a product of pixels [batch * height * width, taps * channels] and
 * packed weights [out, taps * channels], whose first operand is gathered as it is needed; taps are kernel * kernel,
 * channels `in` rounded up to pieces of 16 bytes. The gradient of x is the convolution of dy with the weights of each
 * tap transposed and the taps in reverse.
 */
#ifndef ATELIER_KERNELS_CUDA_CONVOLUTION_H
#define ATELIER_KERNELS_CUDA_CONVOLUTION_H

#include "kernels/cuda/device.h"

enum { PIECE = 8 /* channels, 16 bytes */ };

static inline int pad_channels(int channels)
{
    return (channels + PIECE - 1) / PIECE * PIECE;
}

/* The product, as kernels take it. */
struct convolution {
    struct tensor x;      /* [pixels, channels] */
    struct tensor packed; /* [out, taps * channels] */
    const float *bias;    /* [out], or NULL */
    int height, width, kernel, channels, out, pixels;
    struct conv_fusion fusion;
};

__host__ __device__ inline int depth_of(const struct convolution &c)
{
    return c.kernel * c.kernel * c.channels;
}

/* The pixel that `tap` of pixel (row, column) of a picture reads, as a distance from it; false: outside. */
__device__ inline bool tap_distance(const struct convolution &c, int row, int column, int tap, int *distance)
{
    int dy = tap / c.kernel - c.kernel / 2, dx = tap % c.kernel - c.kernel / 2;
    *distance = dy * c.width + dx;
    return (unsigned)(row + dy) < (unsigned)c.height && (unsigned)(column + dx) < (unsigned)c.width;
}

/* y [pixels, out] = ; ids [pixels] = the first largest of each pixel's results. On tensor cores, where the latter takes
 * room bytes of scratch, and of F32. */
void convolve(struct tensor y, const struct convolution &c);
size_t convolve_argmax_room(size_t pixels, int out);
void convolve_argmax(struct tensor ids, const struct convolution &c, void *room);
void convolve_any(struct tensor y, const struct convolution &c);
void convolve_argmax_any(struct tensor ids, const struct convolution &c);

/* sums [parts, out, taps * channels] = parts, over ranges of pixels, of the weights' gradients; dy [pixels, outs]. */
void weight_sums(float *sums, int parts, struct tensor dy, int outs, const struct convolution &c);
void weight_sums_any(float *sums, int parts, struct tensor dy, int outs, const struct convolution &c);

#endif
