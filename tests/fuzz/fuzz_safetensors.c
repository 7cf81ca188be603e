/* libFuzzer: safetensors. */
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_read_weights(data, size);
    return 0;
}
