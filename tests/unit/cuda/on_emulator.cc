/*
 * The CUDA table under test, on the emulator.
 */
#include "kernels/cuda/library.h"
#include "on_device.h"
#include "tests/emulator/emulator.h"

const struct kernels *device_table(enum dtype compute)
{
    return kernels_cuda(0, compute, sizeof(struct kernels));
}

bool device_vary(bool other)
{
    emulator_set_poison(other ? 0x7f : 0xff);
    emulator_set_reversed(other);
    return true;
}

void device_epilogues(bool on)
{
    emulator_set_epilogues(on);
}
