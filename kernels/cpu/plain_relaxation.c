/*
 * Plain kernels: choosing classes, relaxed (Gumbel-softmax; Jang et al., Maddison et al., 2016) and hard.
 */
#include "common/mem.h"
#include "common/random.h"
#include "kernels/cpu/plain.h"
#include <math.h>
#include <stdlib.h>

static void gumbel(struct tensor noise_t, uint64_t key, uint64_t hi, size_t n)
{
    float *noise = noise_t.data;
    for (size_t i = 0; i < n; i++)
        noise[i] = (float)-log(-log(random_unit(random_philox(key, hi, i / 4).v[i % 4])));
}

static void gumbel_softmax(struct tensor z_t, struct tensor logits_t, struct tensor noise_t, float tau, int rows,
                           int classes)
{
    float *noisy = xmalloc(classes * sizeof *noisy);
    double *p = xmalloc(classes * sizeof *p);
    for (int r = 0; r < rows; r++) {
        float *z = (float *)z_t.data + (size_t)r * classes;
        const float *logits = (const float *)logits_t.data + (size_t)r * classes;
        const float *noise = (const float *)noise_t.data + (size_t)r * classes;
        for (int i = 0; i < classes; i++)
            noisy[i] = (logits[i] + noise[i]) / tau;
        plain_softmax(p, noisy, classes);
        for (int i = 0; i < classes; i++)
            z[i] = (float)p[i];
    }
    free(noisy);
    free(p);
}

static void gumbel_softmax_backward(struct tensor dlogits_t, struct tensor dz_t, struct tensor z_t, float tau, int rows,
                                    int classes)
{
    for (int r = 0; r < rows; r++) {
        float *dlogits = (float *)dlogits_t.data + (size_t)r * classes;
        const float *dz = (const float *)dz_t.data + (size_t)r * classes;
        const float *z = (const float *)z_t.data + (size_t)r * classes;
        double mean = 0;
        for (int i = 0; i < classes; i++)
            mean += (double)z[i] * dz[i];
        for (int i = 0; i < classes; i++)
            dlogits[i] += (float)(z[i] * (dz[i] - mean) / tau);
    }
}

int plain_first_largest(const float *x, int classes)
{
    int best = 0;
    for (int i = 1; i < classes; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

static void argmax(struct tensor ids_t, struct tensor x, int rows, int classes)
{
    for (int r = 0; r < rows; r++)
        ((int32_t *)ids_t.data)[r] = plain_first_largest((const float *)x.data + (size_t)r * classes, classes);
}

struct candidate {
    double weight;
    int class;
    bool kept;
};

static int by_weight(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->weight != y->weight)
        return x->weight < y->weight ? 1 : -1;
    return (x->class > y->class) - (x->class < y->class);
}

static int by_class(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return (x->class > y->class) - (x->class < y->class);
}

/* Drops all but the `top_k` heaviest, then all but the fewest heaviest that make up `top_p` of the rest's weight. */
static void cut(struct candidate *c, int classes, int top_k, float top_p)
{
    qsort(c, classes, sizeof *c, by_weight);
    int kept = top_k > 0 && top_k < classes ? top_k : classes;
    double total = 0, so_far = 0;
    for (int i = 0; i < kept; i++)
        total += c[i].weight;
    for (int i = 0; i < classes; i++) {
        c[i].kept = i < kept && (i == 0 || top_p >= 1 || so_far < top_p * total);
        so_far += c[i].weight;
    }
    qsort(c, classes, sizeof *c, by_class);
}

static void draw(struct tensor ids_t, struct tensor logits_t, struct tensor uniforms, int rows, int classes,
                 const struct draw *d)
{
    if (d->temperature == 0) {
        argmax(ids_t, logits_t, rows, classes);
        return;
    }
    struct candidate *c = xmalloc(classes * sizeof *c);
    for (int r = 0; r < rows; r++) {
        const float *logits = (const float *)logits_t.data + (size_t)r * classes;
        double most = logits[plain_first_largest(logits, classes)], total = 0, so_far = 0;
        for (int i = 0; i < classes; i++)
            c[i] = (struct candidate){exp((logits[i] - most) / d->temperature), i, true};
        if (d->top_k > 0 || d->top_p < 1)
            cut(c, classes, d->top_k, d->top_p);
        for (int i = 0; i < classes; i++)
            total += c[i].kept ? c[i].weight : 0;
        double goal = ((const float *)uniforms.data)[r] * total;
        int chosen = 0;
        for (int i = 0; i < classes && so_far <= goal; i++)
            if (c[i].kept && c[i].weight > 0) {
                so_far += c[i].weight;
                chosen = i;
            }
        ((int32_t *)ids_t.data)[r] = chosen;
    }
    free(c);
}

void plain_relaxation(struct kernels *k)
{
    k->gumbel = gumbel;
    k->gumbel_softmax = gumbel_softmax;
    k->gumbel_softmax_backward = gumbel_softmax_backward;
    k->argmax = argmax;
    k->draw = draw;
}
