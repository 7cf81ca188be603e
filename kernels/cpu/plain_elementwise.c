/*
 * Plain kernels: elementwise operations and activations.
 */
#include "kernels/cpu/plain.h"
#include <math.h>

static void axpy(struct tensor y_t, float a, struct tensor x_t, size_t n)
{
    float *y = y_t.data;
    const float *x = x_t.data;
    for (size_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

static void scale(struct tensor y_t, float a, size_t n)
{
    float *y = y_t.data;
    for (size_t i = 0; i < n; i++)
        y[i] *= a;
}

/* GELU's tanh form: x / 2 (1 + tanh(GELU_A (x + GELU_B x^3))). */
static const double GELU_A = 0.79788456080286535588; /* sqrt(2 / pi) */
static const double GELU_B = 0.044715;
static const double QUICK_GELU = 1.702;

static double activate(enum activation kind, double x)
{
    switch (kind) {
    case ACT_RELU:
        return x > 0 ? x : 0;
    case ACT_GELU:
        return 0.5 * x * (1 + tanh(GELU_A * (x + GELU_B * x * x * x)));
    case ACT_QUICK_GELU:
        return x / (1 + exp(-QUICK_GELU * x));
    }
    return 0;
}

static double derivative(enum activation kind, double x)
{
    switch (kind) {
    case ACT_RELU:
        return x > 0;
    case ACT_GELU: {
        double t = tanh(GELU_A * (x + GELU_B * x * x * x));
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * GELU_A * (1 + 3 * GELU_B * x * x);
    }
    case ACT_QUICK_GELU: {
        double s = 1 / (1 + exp(-QUICK_GELU * x));
        return s + QUICK_GELU * x * s * (1 - s);
    }
    }
    return 0;
}

static void act(enum activation kind, struct tensor y_t, struct tensor x_t, size_t n)
{
    float *y = y_t.data;
    const float *x = x_t.data;
    for (size_t i = 0; i < n; i++)
        y[i] = (float)activate(kind, x[i]);
}

static void act_backward(enum activation kind, struct tensor dx_t, struct tensor dy_t, struct tensor x_t, size_t n)
{
    float *dx = dx_t.data;
    const float *dy = dy_t.data, *x = x_t.data;
    for (size_t i = 0; i < n; i++)
        dx[i] = (float)(dy[i] * derivative(kind, x[i]));
}

static void add_rows(struct tensor y_t, struct tensor x_t, int repeat, size_t n)
{
    float *y = y_t.data;
    const float *x = x_t.data;
    for (int r = 0; r < repeat; r++)
        for (size_t i = 0; i < n; i++)
            y[r * n + i] += x[i];
}

static void add_rows_backward(struct tensor dx_t, struct tensor dy_t, int repeat, size_t n)
{
    float *dx = dx_t.data;
    const float *dy = dy_t.data;
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (int r = 0; r < repeat; r++)
            sum += dy[r * n + i];
        dx[i] += (float)sum;
    }
}

void plain_elementwise(struct kernels *k)
{
    k->axpy = axpy;
    k->scale = scale;
    k->act = act;
    k->act_backward = act_backward;
    k->add_rows = add_rows;
    k->add_rows_backward = add_rows_backward;
}
