/*
 * Fast kernels: convolutions of inference, by one of three methods: 1x1 as a matrix product (pointwise.c), 3x3 of many
 * channels by Winograd's method (winograd.c), the rest directly (convolution.c). Weights are packed once for their
 * method.
 */
#include "kernels/cpu/isa/inference.h"

static size_t packed_size(const struct conv_shape *s)
{
    if (FN(winograd_suits)(s))
        return FN(winograd_size)(s);
    return pack_size(s->kernel * s->kernel * s->in, s->out);
}

static void pack(struct tensor packed, struct tensor w, const struct conv_shape *s)
{
    if (s->kernel == 1)
        FN(pointwise_pack)(packed.data, w.data, s->in, s->out);
    else if (FN(winograd_suits)(s))
        FN(winograd_pack)(packed.data, w.data, s, false);
    else
        FN(direct_pack)(packed.data, w.data, s);
}

static void infer(struct tensor y, struct tensor x, struct tensor packed, struct tensor bias,
                  const struct conv_shape *s, const struct conv_fusion *f)
{
    if (s->kernel == 1) {
        FN(pointwise)(y.data, x.data, packed.data, bias.data, s, f);
    } else if (FN(winograd_suits)(s)) {
        struct scratch scratch = FN(scratch)(0, FN(winograd_scratch)());
        FN(winograd)(y.data, x.data, packed.data, bias.data, s, f, &scratch);
    } else {
        FN(direct)(y.data, x.data, packed.data, bias.data, s, f);
    }
}

static void infer_argmax(struct tensor ids, struct tensor x, struct tensor packed, struct tensor bias,
                         const struct conv_shape *s)
{
    FN(pointwise_argmax)(ids.data, x.data, packed.data, bias.data, s);
}

void FN(fast_inference)(struct kernels *k)
{
    k->conv_packed_size = packed_size;
    k->conv_pack = pack;
    k->conv_infer = infer;
    k->conv_argmax = infer_argmax;
}
