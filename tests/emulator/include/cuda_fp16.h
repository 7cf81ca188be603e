/*
 * IEEE half precision, for the emulator: conversions alone, as kernels/cuda computes in floats.
 */
#ifndef ATELIER_TESTS_EMULATOR_CUDA_FP16_H
#define ATELIER_TESTS_EMULATOR_CUDA_FP16_H

#include <cuda_runtime.h>

struct __half {
    unsigned short bits;
};
struct alignas(4) __half2 {
    __half x, y;
};

static inline float __half2float(__half x)
{
    unsigned magnitude = (x.bits & 0x7fffu) << 13, sign = (x.bits & 0x8000u) << 16;
    if (magnitude >= 0x7c00u << 13)
        return __uint_as_float(sign | magnitude | 0x7f800000u);
    return __uint_as_float(sign | __float_as_uint(__uint_as_float(magnitude) * 0x1p112f));
}
static inline __half __float2half_rn(float x)
{
    unsigned bits = __float_as_uint(x), sign = bits >> 16 & 0x8000u, u = bits & 0x7fffffffu;
    if (u > 0x7f800000u)
        return {0x7fff};
    if (u >= __float_as_uint(65520))
        return {(unsigned short)(sign | 0x7c00u)};
    if (u < __float_as_uint(0x1p-14f)) /* subnormal: beside 0.5, a float has the same last bit */
        return {(unsigned short)(sign | (__float_as_uint(__uint_as_float(u) + 0.5f) - __float_as_uint(0.5f)))};
    return {(unsigned short)(sign | (u + 0xfffu + (u >> 13 & 1) - 0x38000000u) >> 13)};
}
static inline __half2 __floats2half2_rn(float x, float y)
{
    return {__float2half_rn(x), __float2half_rn(y)};
}
static inline unsigned short __half_as_ushort(__half x)
{
    return x.bits;
}
static inline __half __ushort_as_half(unsigned short bits)
{
    return {bits};
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
