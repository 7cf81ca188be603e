/*
 * The operations that have a version for the instruction set this file is compiled for (ISA: avx2 or avx512).
 */
#include "kernels/cpu/isa.h"

#define JOIN(a, b, c) a##b##c
#define FILL(isa) JOIN(kernels_, isa, _fill)

void FILL(ISA)(struct kernels *k)
{
    (void)k;
}
