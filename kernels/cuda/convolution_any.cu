/*
 * Convolutions of F32 tensors on plain arithmetic: a thread a result.
 */
#include "kernels/cuda/convolution.h"

/* Result `out` of a pixel, before bias and fusion. */
static __device__ float result(const struct convolution &c, int pixel, int out)
{
    const auto *x = (const float *)c.x.data, *w = (const float *)c.packed.data + (size_t)out * depth_of(c);
    int row = pixel / c.width % c.height, column = pixel % c.width, distance;
    float sum = 0;
    for (int tap = 0; tap < c.kernel * c.kernel; tap++) {
        if (!tap_distance(c, row, column, tap, &distance))
            continue;
        const float *from = x + (size_t)(pixel + distance) * c.channels;
        for (int i = 0; i < c.channels; i++)
            sum += (c.fusion.relu_in ? fmaxf(from[i], 0) : from[i]) * w[tap * c.channels + i];
    }
    return sum;
}

static __global__ void convolve_any_kernel(struct tensor y, struct convolution c)
{
    size_t i = global_thread();
    if (i >= (size_t)c.pixels * c.out)
        return;
    int out = i % c.out;
    float value = result(c, i / c.out, out) + (c.bias ? c.bias[out] : 0);
    if (c.fusion.gain != 0)
        value = load(y, i) + c.fusion.gain * value;
    store(y, i, c.fusion.relu_out ? fmaxf(value, 0) : value);
}

void convolve_any(struct tensor y, const struct convolution &c)
{
    LAUNCH(convolve_any_kernel, blocks_for((size_t)c.pixels * c.out, THREADS), THREADS, 0, device_stream, y, c);
}

static __global__ void argmax_any_kernel(int32_t *ids, struct convolution c)
{
    int pixel = (int)global_thread(), best = 0;
    if (pixel >= c.pixels)
        return;
    float most = -INFINITY;
    for (int out = 0; out < c.out; out++) {
        float value = result(c, pixel, out) + (c.bias ? c.bias[out] : 0);
        if (value > most) {
            most = value;
            best = out;
        }
    }
    ids[pixel] = isfinite(most) ? best : -1;
}

void convolve_argmax_any(struct tensor ids, const struct convolution &c)
{
    LAUNCH(argmax_any_kernel, blocks_for(c.pixels, THREADS), THREADS, 0, device_stream, (int32_t *)ids.data, c);
}

static __global__ void weights_any_kernel(float *sums, struct tensor dy, int outs, int part, struct convolution c)
{
    size_t i = global_thread(), depth = depth_of(c);
    if (i >= c.out * depth)
        return;
    int out = i / depth, tap = i % depth / c.channels, channel = i % c.channels, distance;
    int first = blockIdx.y * part, end = min(first + part, c.pixels);
    double sum = 0;
    for (int pixel = first; pixel < end; pixel++)
        if (tap_distance(c, pixel / c.width % c.height, pixel % c.width, tap, &distance))
            sum += (double)((const float *)dy.data)[(size_t)pixel * outs + out] *
                   ((const float *)c.x.data)[(size_t)(pixel + distance) * c.channels + channel];
    sums[blockIdx.y * c.out * depth + i] = (float)sum;
}

void weight_sums_any(float *sums, int parts, struct tensor dy, int outs, const struct convolution &c)
{
    int part = (c.pixels + parts - 1) / parts;
    LAUNCH(weights_any_kernel, dim3(blocks_for((size_t)c.out * depth_of(c), THREADS), parts), THREADS, 0, device_stream,
           sums, dy, outs, part, c);
}
