/*
 * Tensor cores, ldmatrix and cp.async: the instructions of kernels/cuda/mma.h, from their fragments' layouts in the PTX
 * ISA manual.
 */
#include "emulator_mma.h"
#include "tests/emulator/internal.h"
#include <cuda_bf16.h>
#include <cuda_fp16.h>

enum { M = 16, N = 8, K = 16 };

struct mma_given {
    const unsigned *a, *b;
    float *d;
};

static float from_bf16(unsigned short bits)
{
    return __bfloat162float(__ushort_as_bfloat16(bits));
}

static float from_f16(unsigned short bits)
{
    return __half2float(__ushort_as_half(bits));
}

static void multiply(const struct emulator_warp *w, const float a[M][K], const float b[K][N], int k)
{
    float d[M][N] = {};
    for (int i = 0; i < M; i++)
        for (int p = 0; p < k; p++)
            for (int j = 0; j < N; j++)
                d[i][j] += a[i][p] * b[p][j];
    for (int lane = 0; lane < EMULATOR_WARP; lane++) {
        float *out = ((const struct mma_given *)w->given[lane])->d;
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++)
            out[i] += d[g + i / 2 * 8][2 * t + i % 2];
    }
}

static void multiply_16(const struct emulator_warp *w, float (*from)(unsigned short))
{
    float a[M][K], b[K][N];
    for (int lane = 0; lane < EMULATOR_WARP; lane++) {
        auto *given = (const struct mma_given *)w->given[lane];
        int g = lane / 4, t = lane % 4;
        for (int half = 0; half < 2; half++) {
            for (int i = 0; i < 4; i++)
                a[g + i % 2 * 8][i / 2 * 8 + 2 * t + half] = from((unsigned short)(given->a[i] >> 16 * half));
            for (int i = 0; i < 2; i++)
                b[i * 8 + 2 * t + half][g] = from((unsigned short)(given->b[i] >> 16 * half));
        }
    }
    multiply(w, a, b, 16);
}

static void multiply_bf16(const struct emulator_warp *w)
{
    multiply_16(w, from_bf16);
}

static void multiply_f16(const struct emulator_warp *w)
{
    multiply_16(w, from_f16);
}

/* The units do not look at the last 13 bits of a tf32. */
static void multiply_tf32(const struct emulator_warp *w)
{
    float a[M][K], b[K][N];
    for (int lane = 0; lane < EMULATOR_WARP; lane++) {
        auto *given = (const struct mma_given *)w->given[lane];
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++)
            a[g + i % 2 * 8][i / 2 * 4 + t] = __uint_as_float(given->a[i] & ~0x1fffu);
        for (int i = 0; i < 2; i++)
            b[i * 4 + t][g] = __uint_as_float(given->b[i] & ~0x1fffu);
    }
    multiply(w, a, b, 8);
}

void mma_bf16(float d[4], const unsigned a[4], const unsigned b[2])
{
    struct mma_given given = {a, b, d};
    emulator_collect("mma_bf16", multiply_bf16, 0xffffffffu, &given, nullptr);
}

void mma_f16(float d[4], const unsigned a[4], const unsigned b[2])
{
    struct mma_given given = {a, b, d};
    emulator_collect("mma_f16", multiply_f16, 0xffffffffu, &given, nullptr);
}

void mma_tf32(float d[4], const unsigned a[4], const unsigned b[2])
{
    struct mma_given given = {a, b, d};
    emulator_collect("mma_tf32", multiply_tf32, 0xffffffffu, &given, nullptr);
}

/* To nearest, ties away from zero. */
unsigned tf32_round(float x)
{
    unsigned bits = __float_as_uint(x);
    return std::isfinite(x) ? (bits + 0x1000u) & ~0x1fffu : bits;
}

float exp2_approximate(float x)
{
    float y = exp2f(x);
    return y < 0x1p-126f ? 0 : y;
}

static void check_aligned(const char *operation, const void *p)
{
    if ((uintptr_t)p % 16)
        emulator_fail("%s of an address that 16 does not divide", operation);
}

static void check_shared(const char *operation, const void *p)
{
    char text[128];
    if (!block_describe(text, sizeof text, p))
        emulator_fail("%s of an address outside shared memory", operation);
}

static void load(const struct emulator_warp *w, bool transposed)
{
    for (int lane = 0; lane < EMULATOR_WARP; lane++)
        for (int i = 0; i < 4; i++) {
            auto *r = (unsigned *)w->result[lane];
            unsigned pair[2];
            for (int half = 0; half < 2; half++) {
                int row = transposed ? lane % 4 * 2 + half : lane / 4;
                int column = transposed ? lane / 4 : lane % 4 * 2 + half;
                pair[half] = ((const unsigned short *)w->given[8 * i + row])[column];
            }
            r[i] = pair[0] | pair[1] << 16;
        }
}

static void load_straight(const struct emulator_warp *w)
{
    load(w, false);
}

static void load_transposed(const struct emulator_warp *w)
{
    load(w, true);
}

void load_matrices(unsigned r[4], const void *row)
{
    check_aligned("ldmatrix", row);
    check_shared("ldmatrix", row);
    races_access(row, 16, false);
    emulator_collect("ldmatrix", load_straight, 0xffffffffu, row, r);
}

void load_matrices_transposed(unsigned r[4], const void *row)
{
    check_aligned("ldmatrix", row);
    check_shared("ldmatrix", row);
    races_access(row, 16, false);
    emulator_collect("ldmatrix.trans", load_transposed, 0xffffffffu, row, r);
}

void copy_async(void *shared, const void *global, bool valid)
{
    check_aligned("cp.async", shared);
    check_aligned("cp.async", global);
    check_shared("cp.async", shared);
    copies_add(shared, global, 16, valid);
}

void copy_async_commit(void)
{
    copies_commit();
}

void emulator_copy_async_wait(int groups)
{
    copies_wait(groups);
}
