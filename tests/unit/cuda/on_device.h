/*
 * The CUDA table under test: on the emulator (on_emulator.cc), or on a device.
 */
#ifndef ATELIER_TESTS_UNIT_CUDA_ON_DEVICE_H
#define ATELIER_TESTS_UNIT_CUDA_ON_DEVICE_H

#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

const struct kernels *device_table(enum dtype compute);

/* Changes what does not count: what undefined memory holds, and whose turn it is. True: results must have the same bits
 * at whatever address arguments lie. */
bool device_vary(bool other);

/* Whether cuBLASLt fuses anything into products; a real one does as it likes. */
void device_epilogues(bool on);

#ifdef __cplusplus
}
#endif

#endif
