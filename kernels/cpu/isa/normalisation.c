/*
 * Fast kernels: layer normalisation and unit length, a row at a time.
 */
#include "kernels/cpu/isa/fast.h"
#include "kernels/cpu/isa/vecmath.h"
#include <string.h>

static const float EPSILON = 1e-5f;

static void layernorm(struct tensor y_t, struct tensor mean_t, struct tensor rstd_t, struct tensor x_t,
                      struct tensor gain_t, struct tensor bias_t, int rows, int d)
{
    const float *gain = gain_t.data, *bias = bias_t.data;
    PARALLEL_FOR((size_t)rows * d * 2)
    for (int r = 0; r < rows; r++) {
        const float *x = (const float *)x_t.data + (size_t)r * d;
        float *restrict y = (float *)y_t.data + (size_t)r * d, sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
        for (int i = 0; i < d; i++)
            sum += x[i];
        float mean = sum / (float)d;
#pragma omp simd reduction(+ : squares)
        for (int i = 0; i < d; i++)
            squares += (x[i] - mean) * (x[i] - mean);
        float rstd = 1 / sqrtf(squares / (float)d + EPSILON);
        for (int i = 0; i < d; i++)
            y[i] = (x[i] - mean) * rstd * gain[i] + bias[i];
        ((float *)mean_t.data)[r] = mean;
        ((float *)rstd_t.data)[r] = rstd;
    }
}

/* One row: dx += its gradient; gain_sum, bias_sum [d] += its share. */
static void row_backward(float *restrict dx, float *restrict gain_sum, float *restrict bias_sum, const float *dy,
                         const float *x, float mean, float rstd, const float *gain, int d, float scale)
{
    float along_one = 0, along_x = 0; /* what dx must not contain: the mean's and the deviation's direction */
#pragma omp simd reduction(+ : along_one, along_x)
    for (int i = 0; i < d; i++) {
        float unit = (x[i] - mean) * rstd, g = dy[i] * gain[i];
        along_one += g;
        along_x += g * unit;
        gain_sum[i] += dy[i] * unit;
        bias_sum[i] += dy[i];
    }
    along_one /= (float)d;
    along_x /= (float)d;
    if (!isfinite(along_one) || !isfinite(along_x))
        return;
    for (int i = 0; i < d; i++)
        dx[i] += scale * rstd * (dy[i] * gain[i] - along_one - (x[i] - mean) * rstd * along_x);
}

/* The sums over rows are cut into parts of the rows. */
static void layernorm_backward(struct tensor dx, struct tensor dgain, struct tensor dbias, struct tensor dy,
                               struct tensor x, struct tensor mean, struct tensor rstd, struct tensor gain, int rows,
                               int d, float scale)
{
    struct scratch s = FN(scratch)((size_t)2 * COLUMN_PARTS * d, 0);
    PARALLEL_FOR((size_t)rows * d * 4)
    for (int part = 0; part < COLUMN_PARTS; part++) {
        float *gain_sum = s.shared + (size_t)2 * part * d, *bias_sum = gain_sum + d;
        memset(gain_sum, 0, (size_t)2 * d * sizeof(float));
        for (int r = part_start(rows, part, COLUMN_PARTS); r < part_start(rows, part + 1, COLUMN_PARTS); r++)
            row_backward((float *)dx.data + (size_t)r * d, gain_sum, bias_sum, (const float *)dy.data + (size_t)r * d,
                         (const float *)x.data + (size_t)r * d, ((const float *)mean.data)[r],
                         ((const float *)rstd.data)[r], gain.data, d, scale);
    }
    for (int part = 0; part < COLUMN_PARTS; part++)
        for (int i = 0; i < d; i++) {
            ((float *)dgain.data)[i] += s.shared[(size_t)2 * part * d + i];
            ((float *)dbias.data)[i] += s.shared[((size_t)2 * part + 1) * d + i];
        }
}

static void l2norm(struct tensor y_t, struct tensor norm, struct tensor x_t, int rows, int d)
{
    PARALLEL_FOR((size_t)rows * d * 2)
    for (int r = 0; r < rows; r++) {
        const float *x = (const float *)x_t.data + (size_t)r * d;
        float *restrict y = (float *)y_t.data + (size_t)r * d, length = sqrtf(row_dot(x, x, d));
        for (int i = 0; i < d; i++)
            y[i] = x[i] / length;
        ((float *)norm.data)[r] = length;
    }
}

static void l2norm_backward(struct tensor dx_t, struct tensor dy_t, struct tensor y_t, struct tensor norm, int rows,
                            int d)
{
    PARALLEL_FOR((size_t)rows * d * 2)
    for (int r = 0; r < rows; r++) {
        const float *dy = (const float *)dy_t.data + (size_t)r * d, *y = (const float *)y_t.data + (size_t)r * d;
        float *restrict dx = (float *)dx_t.data + (size_t)r * d, along = row_dot(dy, y, d);
        for (int i = 0; i < d; i++)
            dx[i] = (dy[i] - along * y[i]) / ((const float *)norm.data)[r];
    }
}

void FN(fast_normalisation)(struct kernels *k)
{
    k->layernorm = layernorm;
    k->layernorm_backward = layernorm_backward;
    k->l2norm = l2norm;
    k->l2norm_backward = l2norm_backward;
}
