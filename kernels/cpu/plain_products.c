/*
 * Plain kernels: matrix products. A row of the result is summed as a whole, so that the inner loop runs along memory.
 */
#include "common/mem.h"
#include "kernels/cpu/plain.h"
#include <stdlib.h>

static float *transposed(const float *x, int rows, int columns)
{
    float *t = xmalloc((size_t)rows * columns * sizeof *t);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++)
            t[(size_t)c * rows + r] = x[(size_t)r * columns + c];
    return t;
}

static void matmul(struct tensor c_t, struct tensor a_t, struct tensor b_t, int m, int n, int k, bool ta, bool tb,
                   float alpha, float beta)
{
    float *c = c_t.data, *copy = tb ? transposed(b_t.data, n, k) : NULL;
    const float *a = a_t.data, *b = tb ? copy : b_t.data;
    double *sum = xmalloc(n * sizeof *sum);
    for (int i = 0; i < m; i++) {
        for (int j = 0; j < n; j++)
            sum[j] = 0;
        for (int p = 0; p < k; p++) {
            double value = ta ? a[(size_t)p * m + i] : a[(size_t)i * k + p];
            const float *row = b + (size_t)p * n;
            for (int j = 0; j < n; j++)
                sum[j] += value * row[j];
        }
        float *out = c + (size_t)i * n;
        for (int j = 0; j < n; j++) /* with beta 0, c may hold anything, even NaN */
            out[j] = (float)(alpha * sum[j] + (beta == 0 ? 0 : (double)beta * out[j]));
    }
    free(sum);
    free(copy);
}

static void linear(struct tensor y_t, struct tensor x, struct tensor w, struct tensor bias_t, int rows, int in, int out)
{
    matmul(y_t, x, w, rows, out, in, false, true, 1, 0);
    float *y = y_t.data;
    const float *bias = bias_t.data;
    for (int r = 0; bias && r < rows; r++)
        for (int o = 0; o < out; o++)
            y[(size_t)r * out + o] += bias[o];
}

static void linear_backward(struct tensor dx, struct tensor dw, struct tensor dbias_t, struct tensor dy_t,
                            struct tensor x, struct tensor w, int rows, int in, int out)
{
    if (dx.data)
        matmul(dx, dy_t, w, rows, in, out, false, false, 1, 0);
    matmul(dw, dy_t, x, out, in, rows, true, false, 1, 1);
    float *dbias = dbias_t.data;
    const float *dy = dy_t.data;
    for (int o = 0; dbias && o < out; o++) {
        double sum = 0;
        for (int r = 0; r < rows; r++)
            sum += dy[(size_t)r * out + o];
        dbias[o] += (float)sum;
    }
}

void plain_products(struct kernels *k)
{
    k->matmul = matmul;
    k->linear = linear;
    k->linear_backward = linear_backward;
}
