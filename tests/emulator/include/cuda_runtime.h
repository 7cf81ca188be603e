/*
 * The part of CUDA's runtime that kernels/cuda uses, for the emulator (tests/emulator/emulator.h): a host compiler
 * finds this header in place of the toolkit's.
 */
#ifndef ATELIER_TESTS_EMULATOR_CUDA_RUNTIME_H
#define ATELIER_TESTS_EMULATOR_CUDA_RUNTIME_H

#define CUDA_EMULATOR 1

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

/* Vectors. */
#define EMULATOR_VECTOR(name, type, n, align)                                                                          \
    struct alignas(align) name##2                                                                                      \
    {                                                                                                                  \
        type x, y;                                                                                                     \
    };                                                                                                                 \
    struct name##3                                                                                                     \
    {                                                                                                                  \
        type x, y, z;                                                                                                  \
    };                                                                                                                 \
    struct alignas(n) name##4                                                                                          \
    {                                                                                                                  \
        type x, y, z, w;                                                                                               \
    };                                                                                                                 \
    static inline name##2 make_##name##2(type x, type y)                                                               \
    {                                                                                                                  \
        return {x, y};                                                                                                 \
    }                                                                                                                  \
    static inline name##3 make_##name##3(type x, type y, type z)                                                       \
    {                                                                                                                  \
        return {x, y, z};                                                                                              \
    }                                                                                                                  \
    static inline name##4 make_##name##4(type x, type y, type z, type w)                                               \
    {                                                                                                                  \
        return {x, y, z, w};                                                                                           \
    }
EMULATOR_VECTOR(float, float, 16, 8)
EMULATOR_VECTOR(int, int, 16, 8)
EMULATOR_VECTOR(uint, unsigned, 16, 8)
EMULATOR_VECTOR(double, double, 16, 16)
#undef EMULATOR_VECTOR

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

#include "emulator_device.h"
#include "emulator_host.h"

#endif
