/*
 * The operations that have a version for the instruction set this file is compiled for (ISA: avx2 or avx512).
 */
#include "kernels/cpu/isa/fast.h"

#define FILL_JOIN(isa) kernels_##isa##_fill
#define FILL(isa) FILL_JOIN(isa)

void FILL(ISA)(struct kernels *k)
{
    FN(fast_products)(k);
    FN(fast_convolution)(k);
    FN(fast_inference)(k);
    FN(fast_attention)(k);
    FN(fast_attention_backward)(k);
    FN(fast_attention_step)(k);
    FN(fast_elementwise)(k);
    FN(fast_normalisation)(k);
    FN(fast_losses)(k);
    FN(fast_relaxation)(k);
    FN(fast_pictures)(k);
}
