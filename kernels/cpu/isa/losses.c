/*
 * Fast kernels: losses with their gradients, a row at a time.
 */
#include "kernels/cpu/isa/fast.h"
#include "kernels/cpu/isa/vecmath.h"
#include <string.h>

static void softmax_xent(struct tensor loss_t, struct tensor dlogits_t, struct tensor logits_t, struct tensor targets_t,
                         int rows, int classes, float scale)
{
    struct scratch s = FN(scratch)(0, classes);
    PARALLEL_FOR((size_t)rows * classes * 4)
    for (int r = 0; r < rows; r++) {
        const float *logits = (const float *)logits_t.data + (size_t)r * classes;
        float *dlogits = dlogits_t.data ? (float *)dlogits_t.data + (size_t)r * classes : NULL;
        float *p = dlogits ? dlogits : scratch_mine(&s);
        int target = ((const int32_t *)targets_t.data)[r];
        float *loss = (float *)loss_t.data + r;
        *loss = 0;
        if (target >= 0) {
            float most = row_max(logits, classes), of_target = logits[target];
            float total = row_exp(p, logits, most, classes);
            *loss = most - of_target + logf(total);
            row_scale(p, scale / total, classes);
            p[target] -= scale;
        } else if (dlogits) {
            memset(dlogits, 0, classes * sizeof(float));
        }
    }
}

/* Values of LAPLACE_ROWS pixels, three each, out of their rows: an operation on them all is one on vectors. */
enum { LAPLACE_ROWS = 64, LAPLACE_VALUES = 3 * LAPLACE_ROWS };

static void laplace_block(float *loss, float *dstats, const float *stats, const float *x, int rows, float floor,
                          float scale)
{
    const float LN_2 = 0.69314718f;
    float mu[LAPLACE_VALUES], ln_b[LAPLACE_VALUES], term[LAPLACE_VALUES];
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < 3; c++) {
            float given = stats[6 * r + 3 + c];
            mu[3 * r + c] = stats[6 * r + c];
            ln_b[3 * r + c] = given > floor ? given : floor;
        }
#pragma omp simd
    for (int i = 0; i < 3 * rows; i++) {
        float ln_x = fast_log(x[i]), ln_rest = fast_log(1 - x[i]), inverse = fast_exp(-ln_b[i]);
        float off = ln_x - ln_rest - mu[i], distance = fabsf(off) * inverse;
        term[i] = LN_2 + ln_b[i] + ln_x + ln_rest + distance;
        mu[i] = scale * inverse * ((off < 0 ? 1.0f : 0.0f) - (off > 0 ? 1.0f : 0.0f)); /* now the gradients */
        ln_b[i] = scale * (ln_b[i] <= floor ? (distance < 1 ? 0 : 1 - distance) : 1 - distance);
    }
    for (int r = 0; r < rows; r++)
        loss[r] = term[3 * r] + term[3 * r + 1] + term[3 * r + 2];
    for (int r = 0; dstats && r < rows; r++)
        for (int c = 0; c < 3; c++) {
            dstats[6 * r + c] = mu[3 * r + c];
            dstats[6 * r + 3 + c] = ln_b[3 * r + c];
        }
}

static void logit_laplace(struct tensor loss, struct tensor dstats, struct tensor stats, struct tensor x, int rows,
                          float floor, float scale)
{
    PARALLEL_FOR((size_t)rows * 128)
    for (int first = 0; first < rows; first += LAPLACE_ROWS)
        laplace_block((float *)loss.data + first, dstats.data ? (float *)dstats.data + (size_t)first * 6 : NULL,
                      (const float *)stats.data + (size_t)first * 6, (const float *)x.data + (size_t)first * 3,
                      smaller(LAPLACE_ROWS, rows - first), floor, scale);
}

static void kl_uniform(struct tensor kl, struct tensor dlogits_t, struct tensor logits_t, int rows, int classes,
                       float scale)
{
    struct scratch s = FN(scratch)(0, classes);
    PARALLEL_FOR((size_t)rows * classes * 8)
    for (int r = 0; r < rows; r++) {
        const float *logits = (const float *)logits_t.data + (size_t)r * classes;
        float *restrict p = scratch_mine(&s);
        float most = row_max(logits, classes), total = row_exp(p, logits, most, classes);
        float ln_total = logf(total), negative_entropy = 0;
#pragma omp simd reduction(+ : negative_entropy)
        for (int i = 0; i < classes; i++) {
            p[i] /= total;
            negative_entropy += p[i] * (logits[i] - most - ln_total);
        }
        ((float *)kl.data)[r] = negative_entropy + logf((float)classes);
        if (!dlogits_t.data)
            continue;
        float *restrict dlogits = (float *)dlogits_t.data + (size_t)r * classes;
        for (int i = 0; i < classes; i++)
            dlogits[i] += scale * p[i] * (logits[i] - most - ln_total - negative_entropy);
    }
}

static void code_use(struct tensor use_t, struct tensor logits_t, int rows, int classes)
{
    struct scratch s = FN(scratch)((size_t)COLUMN_PARTS * classes, classes);
    PARALLEL_FOR((size_t)rows * classes * 4)
    for (int part = 0; part < COLUMN_PARTS; part++) {
        float *restrict sum = s.shared + (size_t)part * classes, *restrict p = scratch_mine(&s);
        memset(sum, 0, classes * sizeof(float));
        for (int r = part_start(rows, part, COLUMN_PARTS); r < part_start(rows, part + 1, COLUMN_PARTS); r++) {
            const float *logits = (const float *)logits_t.data + (size_t)r * classes;
            float share = 1 / row_exp(p, logits, row_max(logits, classes), classes);
            for (int i = 0; i < classes; i++)
                sum[i] += share * p[i];
        }
    }
    float *use = use_t.data;
    memset(use, 0, classes * sizeof(float));
    for (int part = 0; part < COLUMN_PARTS; part++)
        for (int i = 0; i < classes; i++)
            use[i] += s.shared[(size_t)part * classes + i] / (float)rows;
}

static void code_use_backward(struct tensor dlogits_t, struct tensor use_t, struct tensor logits_t, int rows,
                              int classes, float scale)
{
    const float *use = use_t.data;
    struct scratch s = FN(scratch)(classes, classes);
    float *ln_use = s.shared;
    for (int i = 0; i < classes; i++)
        ln_use[i] = use[i] > 0 ? logf(use[i]) : 0; /* a class of no use has no gradient */
    PARALLEL_FOR((size_t)rows * classes * 4)
    for (int r = 0; r < rows; r++) {
        const float *logits = (const float *)logits_t.data + (size_t)r * classes;
        float *restrict dlogits = (float *)dlogits_t.data + (size_t)r * classes, *restrict p = scratch_mine(&s);
        float total = row_exp(p, logits, row_max(logits, classes), classes);
        float mean = row_dot(p, ln_use, classes) / total, factor = scale / (total * (float)rows);
        for (int i = 0; i < classes; i++)
            dlogits[i] += factor * p[i] * (ln_use[i] - mean);
    }
}

void FN(fast_losses)(struct kernels *k)
{
    k->softmax_xent = softmax_xent;
    k->logit_laplace = logit_laplace;
    k->kl_uniform = kl_uniform;
    k->code_use = code_use;
    k->code_use_backward = code_use_backward;
}
