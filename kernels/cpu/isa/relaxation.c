/*
 * Fast kernels: choosing classes, relaxed (Gumbel-softmax) and hard. Drawing (draw) stays with the plain table: it is a
 * few rows a call, sorted and summed in double.
 */
#include "common/random.h"
#include "kernels/cpu/isa/fast.h"
#include "kernels/cpu/isa/vecmath.h"

/* Near 1 a uniform's logarithm is close to 0, where only an exact one is relatively exact; fast_log is: it takes its
 * leading term from x - 1 itself. */
static void gumbel(struct tensor noise_t, uint64_t key, uint64_t hi, size_t n)
{
    enum { BLOCK = 4096 };
    float *noise = noise_t.data;
    PARALLEL_FOR(16 * n)
    for (size_t first = 0; first < n; first += BLOCK) {
        size_t count = n - first < BLOCK ? n - first : BLOCK;
        float u[BLOCK];
        for (size_t i = 0; i < count; i += 4) {
            struct random4 words = random_philox(key, hi, (first + i) / 4);
            for (int j = 0; j < 4; j++)
                u[i + j] = random_unit(words.v[j]);
        }
#pragma omp simd
        for (size_t i = 0; i < count; i++)
            noise[first + i] = -fast_log(-fast_log(u[i]));
    }
}

static void gumbel_softmax(struct tensor z_t, struct tensor logits_t, struct tensor noise_t, float tau, int rows,
                           int classes)
{
    PARALLEL_FOR((size_t)rows * classes * 4)
    for (int r = 0; r < rows; r++) {
        const float *logits = (const float *)logits_t.data + (size_t)r * classes;
        const float *noise = (const float *)noise_t.data + (size_t)r * classes;
        float *restrict z = (float *)z_t.data + (size_t)r * classes;
        for (int i = 0; i < classes; i++)
            z[i] = (logits[i] + noise[i]) / tau;
        float total = row_exp(z, z, row_max(z, classes), classes);
        row_scale(z, 1 / total, classes);
    }
}

static void gumbel_softmax_backward(struct tensor dlogits_t, struct tensor dz_t, struct tensor z_t, float tau, int rows,
                                    int classes)
{
    PARALLEL_FOR((size_t)rows * classes * 2)
    for (int r = 0; r < rows; r++) {
        const float *dz = (const float *)dz_t.data + (size_t)r * classes;
        const float *z = (const float *)z_t.data + (size_t)r * classes;
        float *restrict dlogits = (float *)dlogits_t.data + (size_t)r * classes, mean = row_dot(z, dz, classes);
        for (int i = 0; i < classes; i++)
            dlogits[i] += z[i] * (dz[i] - mean) / tau;
    }
}

static void argmax(struct tensor ids, struct tensor x_t, int rows, int classes)
{
    PARALLEL_FOR((size_t)rows * classes * 2)
    for (int r = 0; r < rows; r++) {
        const float *x = (const float *)x_t.data + (size_t)r * classes;
        float most = row_max(x, classes);
        int first = 0;
        while (first < classes - 1 && x[first] != most)
            first++;
        ((int32_t *)ids.data)[r] = first;
    }
}

void FN(fast_relaxation)(struct kernels *k)
{
    k->gumbel = gumbel;
    k->gumbel_softmax = gumbel_softmax;
    k->gumbel_softmax_backward = gumbel_softmax_backward;
    k->argmax = argmax;
}
