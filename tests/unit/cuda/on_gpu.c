/*
 * The CUDA table under test, on a device: of the library that programs load.
 */
#include "common/err.h"
#include "on_device.h"

#include <stdio.h>
#include <stdlib.h>

enum { NO_DEVICE = 77 /* which test drivers take as skipped */ };

const struct kernels *device_table(enum dtype compute)
{
    const struct kernels *k = kernels_open("cuda", compute);
    if (!k) {
        fprintf(stderr, "%s\n", err_text());
        exit(NO_DEVICE);
    }
    return k;
}

/* A device's turns are its own. */
bool device_vary(bool other)
{
    (void)other;
    return true;
}

void device_epilogues(bool on)
{
    (void)on;
}
