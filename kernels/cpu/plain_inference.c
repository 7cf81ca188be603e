/*
 * Plain kernels: convolution for inference. Weights stay as they are.
 */
#include "common/mem.h"
#include "kernels/cpu/plain.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t packed_size(const struct conv_shape *s)
{
    return (size_t)s->out * s->in * s->kernel * s->kernel;
}

static void pack(struct tensor packed, struct tensor w, const struct conv_shape *s)
{
    memcpy(packed.data, w.data, packed_size(s) * sizeof(float));
}

static void infer(struct tensor y_t, struct tensor x_t, struct tensor packed, struct tensor bias,
                  const struct conv_shape *s, const struct conv_fusion *f)
{
    size_t pixels = (size_t)s->batch * s->height * s->width, in = pixels * s->in, out = pixels * s->out;
    float *result = xmalloc(out * sizeof *result), *x = xmalloc(in * sizeof *x), *y = y_t.data;
    memcpy(x, x_t.data, in * sizeof *x);
    for (size_t i = 0; f->relu_in && i < in; i++)
        x[i] = x[i] > 0 ? x[i] : 0;
    kernels_plain()->conv((struct tensor){result, F32}, (struct tensor){x, F32}, packed, bias, s);
    for (size_t i = 0; i < out; i++) {
        y[i] = f->gain != 0 ? y[i] + f->gain * result[i] : result[i];
        if (f->relu_out)
            y[i] = y[i] > 0 ? y[i] : 0;
    }
    free(result);
    free(x);
}

static void infer_argmax(struct tensor ids, struct tensor x, struct tensor packed, struct tensor bias,
                         const struct conv_shape *s)
{
    size_t pixels = (size_t)s->batch * s->height * s->width;
    float *logits = xmalloc(pixels * s->out * sizeof *logits);
    kernels_plain()->conv((struct tensor){logits, F32}, x, packed, bias, s);
    for (size_t p = 0; p < pixels; p++) {
        int best = plain_first_largest(logits + p * s->out, s->out);
        ((int32_t *)ids.data)[p] = isfinite(logits[p * s->out + best]) ? best : -1;
    }
    free(logits);
}

void plain_inference(struct kernels *k)
{
    k->conv_packed_size = packed_size;
    k->conv_pack = pack;
    k->conv_infer = infer;
    k->conv_argmax = infer_argmax;
}
