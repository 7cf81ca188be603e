/*
 * Plain kernels: losses with their gradients (MODELS.md, 1 and 2).
 */
#include "common/mem.h"
#include "kernels/cpu/plain.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

double plain_softmax(double *p, const float *x, int classes)
{
    double most = x[0];
    for (int i = 1; i < classes; i++)
        most = fmax(most, x[i]);
    double total = p[0] = exp(x[0] - most);
    for (int i = 1; i < classes; i++)
        total += p[i] = exp(x[i] - most);
    for (int i = 0; i < classes; i++)
        p[i] /= total;
    return most + log(total);
}

static void softmax_xent(struct tensor loss_t, struct tensor dlogits_t, struct tensor logits_t, struct tensor targets_t,
                         int rows, int classes, float scale)
{
    float *loss = loss_t.data;
    const int32_t *targets = targets_t.data;
    double *p = xmalloc(classes * sizeof *p);
    for (int r = 0; r < rows; r++) {
        const float *logits = (const float *)logits_t.data + (size_t)r * classes;
        float *dlogits = dlogits_t.data ? (float *)dlogits_t.data + (size_t)r * classes : NULL;
        bool counts = targets[r] >= 0;
        double denominator = plain_softmax(p, logits, classes);
        loss[r] = counts ? (float)(denominator - logits[targets[r]]) : 0;
        for (int i = 0; dlogits && i < classes; i++)
            dlogits[i] = counts ? (float)(scale * (p[i] - (i == targets[r]))) : 0;
    }
    free(p);
}

static void logit_laplace(struct tensor loss_t, struct tensor dstats_t, struct tensor stats_t, struct tensor x_t,
                          int rows, float floor, float scale)
{
    float *loss = loss_t.data, *dstats = dstats_t.data;
    const float *stats = stats_t.data, *pixels = x_t.data;
    for (int r = 0; r < rows; r++) {
        double sum = 0;
        for (int c = 0; c < 3; c++) {
            double mu = stats[(size_t)r * 6 + c], x = pixels[(size_t)r * 3 + c];
            double ln_b = fmax(stats[(size_t)r * 6 + 3 + c], floor);
            double off = log(x) - log1p(-x) - mu, distance = fabs(off) * exp(-ln_b);
            sum += log(2) + ln_b + log(x) + log1p(-x) + distance;
            if (dstats) {
                dstats[(size_t)r * 6 + c] = (float)(scale * exp(-ln_b) * ((off < 0) - (off > 0)));
                bool held = ln_b <= floor && distance < 1;
                dstats[(size_t)r * 6 + 3 + c] = held ? 0 : (float)(scale * (1 - distance));
            }
        }
        loss[r] = (float)sum;
    }
}

static void kl_uniform(struct tensor kl_t, struct tensor dlogits_t, struct tensor logits_t, int rows, int classes,
                       float scale)
{
    float *kl = kl_t.data;
    double *p = xmalloc(classes * sizeof *p);
    for (int r = 0; r < rows; r++) {
        const float *logits = (const float *)logits_t.data + (size_t)r * classes;
        float *dlogits = dlogits_t.data ? (float *)dlogits_t.data + (size_t)r * classes : NULL;
        double denominator = plain_softmax(p, logits, classes), negative_entropy = 0;
        for (int i = 0; i < classes; i++)
            negative_entropy += p[i] > 0 ? p[i] * (logits[i] - denominator) : 0;
        kl[r] = (float)(negative_entropy + log(classes));
        for (int i = 0; dlogits && i < classes; i++)
            dlogits[i] += p[i] > 0 ? (float)(scale * p[i] * (logits[i] - denominator - negative_entropy)) : 0;
    }
    free(p);
}

static void code_use(struct tensor use_t, struct tensor logits, int rows, int classes)
{
    double *p = xmalloc(classes * sizeof *p), *sum = xcalloc(classes, sizeof *sum);
    for (int r = 0; r < rows; r++) {
        plain_softmax(p, (const float *)logits.data + (size_t)r * classes, classes);
        for (int i = 0; i < classes; i++)
            sum[i] += p[i];
    }
    for (int i = 0; i < classes; i++)
        ((float *)use_t.data)[i] = (float)(sum[i] / rows);
    free(p);
    free(sum);
}

static void code_use_backward(struct tensor dlogits_t, struct tensor use_t, struct tensor logits_t, int rows,
                              int classes, float scale)
{
    const float *use = use_t.data;
    double *p = xmalloc(classes * sizeof *p), *ln_use = xmalloc(classes * sizeof *ln_use);
    for (int i = 0; i < classes; i++)
        ln_use[i] = use[i] > 0 ? log(use[i]) : 0; /* a class of no use has no gradient */
    for (int r = 0; r < rows; r++) {
        float *dlogits = (float *)dlogits_t.data + (size_t)r * classes;
        plain_softmax(p, (const float *)logits_t.data + (size_t)r * classes, classes);
        double mean = 0;
        for (int i = 0; i < classes; i++)
            mean += p[i] * ln_use[i];
        for (int i = 0; i < classes; i++)
            dlogits[i] += (float)(scale * p[i] * (ln_use[i] - mean) / rows);
    }
    free(p);
    free(ln_use);
}

void plain_losses(struct kernels *k)
{
    k->softmax_xent = softmax_xent;
    k->logit_laplace = logit_laplace;
    k->kl_uniform = kl_uniform;
    k->code_use = code_use;
    k->code_use_backward = code_use_backward;
}
