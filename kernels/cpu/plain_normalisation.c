/*
 * Plain kernels: layer normalisation (Ba et al., 2016) and unit length.
 */
#include "common/mem.h"
#include "kernels/cpu/plain.h"
#include <math.h>
#include <stdlib.h>

static const double EPSILON = 1e-5;

static void layernorm(struct tensor y_t, struct tensor mean_t, struct tensor rstd_t, struct tensor x_t,
                      struct tensor gain_t, struct tensor bias_t, int rows, int d)
{
    float *mean = mean_t.data, *rstd = rstd_t.data;
    const float *gain = gain_t.data, *bias = bias_t.data;
    for (int r = 0; r < rows; r++) {
        float *y = (float *)y_t.data + (size_t)r * d;
        const float *x = (const float *)x_t.data + (size_t)r * d;
        double sum = 0, squares = 0;
        for (int i = 0; i < d; i++)
            sum += x[i];
        double m = sum / d;
        for (int i = 0; i < d; i++)
            squares += (x[i] - m) * (x[i] - m);
        double s = 1 / sqrt(squares / d + EPSILON);
        for (int i = 0; i < d; i++)
            y[i] = (float)((x[i] - m) * s * gain[i] + bias[i]);
        mean[r] = (float)m;
        rstd[r] = (float)s;
    }
}

static void layernorm_backward(struct tensor dx_t, struct tensor dgain_t, struct tensor dbias_t, struct tensor dy_t,
                               struct tensor x_t, struct tensor mean, struct tensor rstd, struct tensor gain_t,
                               int rows, int d, float scale)
{
    const float *gain = gain_t.data;
    double *gain_sum = xcalloc(d, sizeof *gain_sum), *bias_sum = xcalloc(d, sizeof *bias_sum);
    for (int r = 0; r < rows; r++) {
        float *dx = (float *)dx_t.data + (size_t)r * d;
        const float *dy = (const float *)dy_t.data + (size_t)r * d, *x = (const float *)x_t.data + (size_t)r * d;
        double m = ((const float *)mean.data)[r], s = ((const float *)rstd.data)[r];
        double along_one = 0, along_x = 0; /* what dx must not contain: the mean's and the deviation's direction */
        for (int i = 0; i < d; i++) {
            double unit = (x[i] - m) * s, g = (double)dy[i] * gain[i];
            along_one += g;
            along_x += g * unit;
            gain_sum[i] += dy[i] * unit;
            bias_sum[i] += dy[i];
        }
        if (!isfinite(along_one) || !isfinite(along_x))
            continue;
        for (int i = 0; i < d; i++) {
            double unit = (x[i] - m) * s, g = (double)dy[i] * gain[i];
            dx[i] += (float)(scale * s * (g - along_one / d - unit * along_x / d));
        }
    }
    for (int i = 0; i < d; i++) {
        ((float *)dgain_t.data)[i] += (float)gain_sum[i];
        ((float *)dbias_t.data)[i] += (float)bias_sum[i];
    }
    free(gain_sum);
    free(bias_sum);
}

static void l2norm(struct tensor y_t, struct tensor norm_t, struct tensor x_t, int rows, int d)
{
    float *norm = norm_t.data;
    for (int r = 0; r < rows; r++) {
        float *y = (float *)y_t.data + (size_t)r * d;
        const float *x = (const float *)x_t.data + (size_t)r * d;
        double squares = 0;
        for (int i = 0; i < d; i++)
            squares += (double)x[i] * x[i];
        double length = sqrt(squares);
        for (int i = 0; i < d; i++)
            y[i] = (float)(x[i] / length);
        norm[r] = (float)length;
    }
}

static void l2norm_backward(struct tensor dx_t, struct tensor dy_t, struct tensor y_t, struct tensor norm_t, int rows,
                            int d)
{
    const float *norm = norm_t.data;
    for (int r = 0; r < rows; r++) {
        float *dx = (float *)dx_t.data + (size_t)r * d;
        const float *dy = (const float *)dy_t.data + (size_t)r * d, *y = (const float *)y_t.data + (size_t)r * d;
        double along = 0;
        for (int i = 0; i < d; i++)
            along += (double)dy[i] * y[i];
        for (int i = 0; i < d; i++)
            dx[i] = (float)((dy[i] - along * y[i]) / norm[r]);
    }
}

void plain_normalisation(struct kernels *k)
{
    k->layernorm = layernorm;
    k->layernorm_backward = layernorm_backward;
    k->l2norm = l2norm;
    k->l2norm_backward = l2norm_backward;
}
