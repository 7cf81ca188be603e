/*
 * CUDA kernels: the convolutions of the table. Their operands are brought into the form that the products take: weights
 * packed, channels filled up with zeros to whole pieces.
 */
#include "kernels/cuda/convolution.h"

enum {
    MOST_PARTS = 64,
    LEAST_PIXELS = 2048,        /* of a part of the weights' gradient */
    MOST_SUMS = (32 << 20) / 4, /* of all parts together, where they are more than one */
};

/* packed [out, taps, channels] = w [out, in, taps] with its channels filled up; reversed: packed [in, taps, channels]
 * = w [out, in, taps] transposed, taps in reverse. i counts packed. */
static __global__ void pack_kernel(struct tensor packed, struct tensor w, int out, int in, int taps, bool reversed)
{
    size_t i = global_thread();
    int rows = reversed ? in : out, depth = reversed ? out : in;
    int channels = (depth + PIECE - 1) / PIECE * PIECE;
    if (i >= (size_t)rows * taps * channels)
        return;
    int channel = i % channels, tap = i / channels % taps, row = i / channels / taps;
    size_t from =
        reversed ? ((size_t)channel * in + row) * taps + taps - 1 - tap : ((size_t)row * in + channel) * taps + tap;
    store(packed, i, channel < depth ? load(w, from) : 0);
}

static void pack(struct tensor packed, struct tensor w, int out, int in, int kernel, bool reversed)
{
    int taps = kernel * kernel;
    size_t n = (size_t)(reversed ? in : out) * taps * pad_channels(reversed ? out : in);
    LAUNCH(pack_kernel, blocks_for(n, THREADS), THREADS, 0, device_stream, packed, w, out, in, taps, reversed);
}

static __global__ void pad_kernel(struct tensor padded, struct tensor x, int in, int channels, size_t n)
{
    size_t i = global_thread();
    if (i < n)
        store(padded, i, (int)(i % channels) < in ? load(x, i / channels * in + i % channels) : 0);
}

/* Scratch memory, handed out in pieces; sizes are counted first. */
struct scratch {
    char *next;
};

static size_t scratch_size(size_t elements, enum dtype dtype)
{
    return (elements * dtype_size(dtype) + 255) / 256 * 256;
}

static struct tensor scratch_take(struct scratch *s, size_t elements, enum dtype dtype)
{
    struct tensor t = {s->next, dtype};
    s->next += scratch_size(elements, dtype);
    return t;
}

/* Whether a tensor must be copied to be taken: to have whole and aligned pieces, or the type of the products. */
static bool must_pad(struct tensor x, int in, enum dtype dtype)
{
    return in % PIECE != 0 || x.dtype != dtype || !aligned16(x.data);
}

static size_t padded_size(struct tensor x, int in, size_t pixels, enum dtype dtype)
{
    return must_pad(x, in, dtype) ? scratch_size(pixels * pad_channels(in), dtype) : 0;
}

static struct tensor padded(struct scratch *s, struct tensor x, int in, size_t pixels, enum dtype dtype)
{
    if (!must_pad(x, in, dtype))
        return x;
    int channels = pad_channels(in);
    size_t n = pixels * channels;
    struct tensor to = scratch_take(s, n, dtype);
    LAUNCH(pad_kernel, blocks_for(n, THREADS), THREADS, 0, device_stream, to, x, in, channels, n);
    return to;
}

static size_t pixels_of(const struct conv_shape *s)
{
    return (size_t)s->batch * s->height * s->width;
}

static size_t packed_size(const struct conv_shape *s)
{
    return (size_t)s->out * s->kernel * s->kernel * pad_channels(s->in);
}

static struct convolution convolution_of(struct tensor x, struct tensor packed, struct tensor bias,
                                         const struct conv_shape *s)
{
    struct convolution c = {x,
                            packed,
                            (const float *)bias.data,
                            s->height,
                            s->width,
                            s->kernel,
                            pad_channels(s->in),
                            s->out,
                            (int)pixels_of(s),
                            {}};
    return c;
}

static void run(struct tensor y, const struct convolution &c)
{
    if (c.x.dtype == F32)
        convolve_any(y, c);
    else
        convolve(y, c);
}

static void conv_pack(struct tensor packed, struct tensor w, const struct conv_shape *s)
{
    pack(packed, w, s->out, s->in, s->kernel, false);
}

static void conv_infer(struct tensor y, struct tensor x, struct tensor packed, struct tensor bias,
                       const struct conv_shape *s, const struct conv_fusion *f)
{
    struct scratch room = {(char *)device_scratch(padded_size(x, s->in, pixels_of(s), packed.dtype))};
    struct convolution c = convolution_of(padded(&room, x, s->in, pixels_of(s), packed.dtype), packed, bias, s);
    c.fusion = *f;
    run(y, c);
}

static void conv_argmax(struct tensor ids, struct tensor x, struct tensor packed, struct tensor bias,
                        const struct conv_shape *s)
{
    size_t pixels = pixels_of(s), input = padded_size(x, s->in, pixels, packed.dtype);
    struct scratch room = {(char *)device_scratch(input + convolve_argmax_room(pixels, s->out))};
    struct convolution c = convolution_of(padded(&room, x, s->in, pixels, packed.dtype), packed, bias, s);
    if (packed.dtype == F32)
        convolve_argmax_any(ids, c);
    else
        convolve_argmax(ids, c, room.next);
}

static void conv(struct tensor y, struct tensor x, struct tensor w, struct tensor bias, const struct conv_shape *s)
{
    size_t weights = packed_size(s), pixels = pixels_of(s);
    struct scratch room = {
        (char *)device_scratch(scratch_size(weights, w.dtype) + padded_size(x, s->in, pixels, w.dtype))};
    struct tensor packed = scratch_take(&room, weights, w.dtype);
    pack(packed, w, s->out, s->in, s->kernel, false);
    run(y, convolution_of(padded(&room, x, s->in, pixels, w.dtype), packed, bias, s));
}

/* dw [out, in, taps] += the sums over parts of sums [parts, out, taps, channels]. */
static __global__ void add_weights_kernel(struct tensor dw, const float *sums, int parts, int out, int in, int taps,
                                          int channels)
{
    size_t i = global_thread();
    if (i >= (size_t)out * in * taps)
        return;
    int tap = i % taps, channel = i / taps % in;
    size_t row = i / taps / in, at = (row * taps + tap) * channels + channel;
    float sum = 0;
    for (int p = 0; p < parts; p++)
        sum += sums[(size_t)p * out * taps * channels + at];
    store(dw, i, load(dw, i) + sum);
}

/* Parts that give the device enough blocks, by the shape alone: many weights are many blocks. */
static int parts_for(const struct conv_shape *s)
{
    int most = max(1, min((int)(MOST_SUMS / packed_size(s)), (int)MOST_PARTS));
    return min((int)((pixels_of(s) + LEAST_PIXELS - 1) / LEAST_PIXELS), most);
}

static void conv_backward(struct tensor dx, struct tensor dw, struct tensor dbias, struct tensor dy, struct tensor x,
                          struct tensor w, const struct conv_shape *s)
{
    size_t pixels = pixels_of(s), sums_count = parts_for(s) * packed_size(s);
    struct conv_shape reverse = *s;
    reverse.in = s->out;
    reverse.out = s->in;
    if (dbias.data)
        device_add_column_sums(dbias, dy, pixels, s->out, 1);
    size_t weights = dx.data ? scratch_size(packed_size(&reverse), w.dtype) : 0;
    struct scratch room = {(char *)device_scratch(weights + scratch_size(sums_count, F32) +
                                                  padded_size(dy, s->out, pixels, w.dtype) +
                                                  padded_size(x, s->in, pixels, w.dtype))};
    struct tensor sums = scratch_take(&room, sums_count, F32);
    struct tensor own_dy = padded(&room, dy, s->out, pixels, w.dtype);
    struct convolution c = convolution_of(padded(&room, x, s->in, pixels, w.dtype), w, tensor_none(), s);
    if (w.dtype == F32)
        weight_sums_any((float *)sums.data, parts_for(s), own_dy, pad_channels(s->out), c);
    else
        weight_sums((float *)sums.data, parts_for(s), own_dy, pad_channels(s->out), c);
    LAUNCH(add_weights_kernel, blocks_for((size_t)s->out * s->in * s->kernel * s->kernel, THREADS), THREADS, 0,
           device_stream, dw, (const float *)sums.data, parts_for(s), s->out, s->in, s->kernel * s->kernel, c.channels);
    if (!dx.data)
        return;
    struct tensor packed = scratch_take(&room, packed_size(&reverse), w.dtype);
    pack(packed, w, s->out, s->in, s->kernel, true);
    run(dx, convolution_of(own_dy, packed, tensor_none(), &reverse));
}

void cuda_convolution(struct kernels *k)
{
    k->conv = conv;
    k->conv_backward = conv_backward;
    k->conv_packed_size = packed_size;
    k->conv_pack = conv_pack;
    k->conv_infer = conv_infer;
    k->conv_argmax = conv_argmax;
}
