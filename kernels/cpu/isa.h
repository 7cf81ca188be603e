/*
 * What the table's owner (cpu.c) and the fast kernels (isa/, compiled once for each instruction set) know of each
 * other.
 */
#ifndef ATELIER_KERNELS_CPU_ISA_H
#define ATELIER_KERNELS_CPU_ISA_H

#include "kernels/kernels.h"

/* Replace the operations of a plain table that have a version for the instruction set. */
void kernels_avx2_fill(struct kernels *k);
void kernels_avx512_fill(struct kernels *k);

/* Threads to use, at least 1: pass it to num_threads, since OpenMP's own setting belongs to one calling thread. */
int kernels_threads(void);

#endif
