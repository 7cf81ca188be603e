/*
 * An emulator of a CUDA device: the sources of kernels/cuda, compiled by the host's C++ compiler against include/, run
 * on the CPU. A block's threads are fibres that take turns at barriers and warp operations; blocks run one after the
 * other. What a device would leave undefined ends the program with a message that names kernel, block and thread:
 *  - reads and writes outside an allocation or outside shared memory (guard pages and, where alignment leaves a gap,
 *    guard bytes, looked at after each launch);
 *  - a barrier that some threads of the block never reach, a warp operation that lanes of its mask never reach, a
 *    shuffle from a lane outside its mask;
 *  - two threads' accesses to the same bytes of shared memory, one of them a write, without a barrier between.
 * Undefined memory (fresh allocations, shared memory at a block's start, cp.async's targets until they are waited for)
 * holds a pattern, so that reading it shows in results; two runs with different patterns and turns must agree.
 * For programs that load it: ATELIER_EMULATOR_DEVICES says how many devices there are (1), and with
 * ATELIER_EMULATOR_LOG it says which one was opened, and last how much memory was in use at most.
 */
#ifndef ATELIER_TESTS_EMULATOR_EMULATOR_H
#define ATELIER_TESTS_EMULATOR_EMULATOR_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The byte that undefined memory is made of from now on (at first 0xFF: NaN in every type of floats, -1 in integers).
 */
void emulator_set_poison(int byte);

/* Threads and blocks take turns from the last to the first, so that a race shows. */
void emulator_set_reversed(bool reversed);

/* Whether cublasLt has epilogues (at first it does), to try what is done without. */
void emulator_set_epilogues(bool on);

#ifdef __cplusplus
}
#endif

#endif
