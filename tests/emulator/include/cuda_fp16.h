/*
 * IEEE half precision, for the emulator: conversions alone, as kernels/cuda computes in floats.
 */
#ifndef ATELIER_TESTS_EMULATOR_CUDA_FP16_H
#define ATELIER_TESTS_EMULATOR_CUDA_FP16_H

#include <cuda_runtime.h>

struct __half {
    _Float16 value;
};
struct alignas(4) __half2 {
    __half x, y;
};

static inline float __half2float(__half x)
{
    return (float)x.value;
}
static inline __half __float2half_rn(float x)
{
    return {(_Float16)x};
}
static inline __half2 __floats2half2_rn(float x, float y)
{
    return {__float2half_rn(x), __float2half_rn(y)};
}
static inline unsigned short __half_as_ushort(__half x)
{
    return emulator_bits<unsigned short>(x);
}
static inline __half __ushort_as_half(unsigned short bits)
{
    return emulator_bits<__half>(bits);
}
/* Towards zero. */
static inline __half __float2half_rz(float x)
{
    __half rounded = __float2half_rn(x);
    unsigned short bits = __half_as_ushort(rounded);
    if (!std::isnan(x) && std::fabs(__half2float(rounded)) > std::fabs(x))
        bits--;
    return __ushort_as_half(bits);
}

#endif
