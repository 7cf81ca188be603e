/*
 * What kernels call, for the emulator: coordinates, barriers, warps, atomics, arithmetic. Included by cuda_runtime.h.
 */
#ifndef ATELIER_TESTS_EMULATOR_DEVICE_H
#define ATELIER_TESTS_EMULATOR_DEVICE_H

/* The thread that runs now. */
struct emulator_place {
    uint3 thread, block;
    dim3 block_size, grid_size;
};
extern struct emulator_place emulator_place;
#define threadIdx (emulator_place.thread)
#define blockIdx (emulator_place.block)
#define blockDim (emulator_place.block_size)
#define gridDim (emulator_place.grid_size)
static const int warpSize = 32;

/* The block's dynamic shared memory. */
unsigned char *emulator_shared(void);

void emulator_barrier(const char *file, int line);
static inline void __syncthreads(const char *file = __builtin_FILE(), int line = __builtin_LINE())
{
    emulator_barrier(file, line);
}

/* Warp collectives: all lanes of `mask` must come, with the same operation and mask. A lane gives up to 64 bytes, and
 * `complete`, called once when all are there, makes each lane's result of them. */
enum { EMULATOR_WARP = 32, EMULATOR_EXCHANGE = 64 };
struct emulator_warp {
    unsigned mask;
    const void *given[EMULATOR_WARP]; /* of the lanes in mask */
    void *result[EMULATOR_WARP];
};
typedef void emulator_complete(const struct emulator_warp *w);
void emulator_collect(const char *operation, emulator_complete *complete, unsigned mask, const void *given,
                      void *result);

emulator_complete emulator_sync_complete;
static inline void __syncwarp(unsigned mask = 0xffffffffu)
{
    emulator_collect("__syncwarp", emulator_sync_complete, mask, nullptr, nullptr);
}

/* A 32-bit or 64-bit value of lane `source` of each lane's own choosing; a lane outside the mask is an error. */
struct emulator_shuffle {
    uint64_t value;
    int source;
};
emulator_complete emulator_shuffle_complete;
enum emulator_vote { EMULATOR_ANY, EMULATOR_ALL, EMULATOR_BALLOT };
unsigned emulator_votes(const char *operation, unsigned mask, bool vote);
int emulator_lane(void);

template <class T> static inline T emulator_shuffled(const char *operation, unsigned mask, T value, int source)
{
    static_assert(sizeof value <= 8, "what a shuffle moves");
    struct emulator_shuffle given = {0, source};
    uint64_t moved = 0;
    memcpy(&given.value, &value, sizeof value);
    emulator_collect(operation, emulator_shuffle_complete, mask, &given, &moved);
    memcpy(&value, &moved, sizeof value);
    return value;
}

template <class T> static inline T __shfl_sync(unsigned mask, T value, int source, int width = 32)
{
    int lane = emulator_lane();
    return emulator_shuffled("__shfl_sync", mask, value, (lane & ~(width - 1)) | (source & (width - 1)));
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32)
{
    int lane = emulator_lane(), source = lane ^ bits;
    return emulator_shuffled("__shfl_xor_sync", mask, value, source / width > lane / width ? lane : source);
}
template <class T> static inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32)
{
    int lane = emulator_lane(), source = lane + (int)by;
    return emulator_shuffled("__shfl_down_sync", mask, value, source / width > lane / width ? lane : source);
}
template <class T> static inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32)
{
    int lane = emulator_lane(), source = lane - (int)by;
    return emulator_shuffled("__shfl_up_sync", mask, value, source < (lane & ~(width - 1)) ? lane : source);
}
static inline unsigned __ballot_sync(unsigned mask, int vote)
{
    return emulator_votes("__ballot_sync", mask, vote);
}
static inline int __any_sync(unsigned mask, int vote)
{
    return emulator_votes("__any_sync", mask, vote) != 0;
}
static inline int __all_sync(unsigned mask, int vote)
{
    return emulator_votes("__all_sync", mask, vote) == mask;
}

int emulator_barrier_count(bool vote, const char *file, int line);
static inline int __syncthreads_count(int vote, const char *file = __builtin_FILE(), int line = __builtin_LINE())
{
    return emulator_barrier_count(vote, file, line);
}
static inline int __syncthreads_or(int vote, const char *file = __builtin_FILE(), int line = __builtin_LINE())
{
    return emulator_barrier_count(vote, file, line) != 0;
}
static inline int __syncthreads_and(int vote, const char *file = __builtin_FILE(), int line = __builtin_LINE())
{
    return emulator_barrier_count(!vote, file, line) == 0;
}

/* Atomics: threads take turns, so plain operations are atomic. */
template <class T> static inline T atomicAdd(T *at, T x)
{
    T old = *at;
    *at = old + x;
    return old;
}
template <class T> static inline T atomicMax(T *at, T x)
{
    T old = *at;
    *at = old > x ? old : x;
    return old;
}
template <class T> static inline T atomicMin(T *at, T x)
{
    T old = *at;
    *at = old < x ? old : x;
    return old;
}
template <class T> static inline T atomicOr(T *at, T x)
{
    T old = *at;
    *at = old | x;
    return old;
}
template <class T> static inline T atomicExch(T *at, T x)
{
    T old = *at;
    *at = x;
    return old;
}
template <class T> static inline T atomicCAS(T *at, T expected, T x)
{
    T old = *at;
    if (old == expected)
        *at = x;
    return old;
}
static inline void __threadfence(void) {}
static inline void __threadfence_block(void) {}

/* Memory with a hint to the caches. */
template <class T> static inline T __ldg(const T *p)
{
    return *p;
}
template <class T> static inline T __ldcs(const T *p)
{
    return *p;
}
template <class T> static inline void __stcs(T *p, T x)
{
    *p = x;
}

/* Arithmetic. glibc has functions of these names, which nothing but their own macros may call. */
#define __expf expf
#define __logf logf
template <class To, class From> static inline To emulator_bits(From from)
{
    static_assert(sizeof(To) == sizeof(From), "the same bits");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
static inline float __uint_as_float(unsigned x)
{
    return emulator_bits<float>(x);
}
static inline unsigned __float_as_uint(float x)
{
    return emulator_bits<unsigned>(x);
}
static inline float __int_as_float(int x)
{
    return emulator_bits<float>(x);
}
static inline int __float_as_int(float x)
{
    return emulator_bits<int>(x);
}
static inline long long __double_as_longlong(double x)
{
    return emulator_bits<long long>(x);
}
static inline double __longlong_as_double(long long x)
{
    return emulator_bits<double>(x);
}
static inline float __fdividef(float x, float y)
{
    return x / y;
}
static inline float rsqrtf(float x)
{
    return 1 / sqrtf(x);
}
static inline float __frcp_rn(float x)
{
    return 1 / x;
}
static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
static inline unsigned __umulhi(unsigned x, unsigned y)
{
    return (unsigned)((uint64_t)x * y >> 32);
}
static inline int __clz(int x)
{
    return x ? __builtin_clz((unsigned)x) : 32;
}
static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}
static inline float fdividef(float x, float y)
{
    return x / y;
}
using std::max;
using std::min;

#endif
