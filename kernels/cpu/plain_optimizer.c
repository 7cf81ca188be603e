/*
 * Plain kernels: what the optimizer needs. AdamW is Loshchilov and Hutter's (2017).
 */
#include "kernels/cpu/plain.h"
#include <math.h>

static void dot(struct tensor out, struct tensor a_t, struct tensor b_t, size_t n)
{
    const float *a = a_t.data, *b = b_t.data;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    *(float *)out.data = (float)sum;
}

static void lerp(struct tensor y_t, struct tensor x_t, float keep, size_t n, uint64_t key)
{
    (void)key;
    float *y = y_t.data;
    const float *x = x_t.data;
    for (size_t i = 0; i < n; i++)
        y[i] += (1 - keep) * (x[i] - y[i]);
}

static void adamw(struct tensor w_t, struct tensor m_t, struct tensor v_t, struct tensor g_t, size_t n,
                  const struct adamw *h)
{
    float *w = w_t.data, *m = m_t.data, *v = v_t.data;
    const float *g = g_t.data;
    double m_bias = 1 - pow(h->beta1, h->step), v_bias = 1 - pow(h->beta2, h->step);
    for (size_t i = 0; i < n; i++) {
        double gradient = (double)g[i] * h->grad_scale;
        double mean = h->beta1 * (double)m[i] + (1 - (double)h->beta1) * gradient;
        double variance = fmin(h->beta2 * (double)v[i] + (1 - (double)h->beta2) * gradient * gradient, h->v_max);
        double decayed = w[i] * (1 - (double)h->lr * h->decay);
        w[i] = (float)(decayed - h->lr * (mean / m_bias) / (sqrt(variance / v_bias) + h->eps));
        m[i] = (float)mean;
        v[i] = (float)variance;
    }
}

void plain_optimizer(struct kernels *k)
{
    k->dot = dot;
    k->lerp = lerp;
    k->adamw = adamw;
}
