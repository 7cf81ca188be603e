/*
 * AdamW over a parameter table: moments in two slabs laid out like the parameters (in 16 bits where the parameters
 * are), the clip by global norm and the decay of those parameters that ask for it. The slabs are saved and loaded as
 * any other (params_save, params_load).
 */
#ifndef ATELIER_MODELS_OPTIMIZER_H
#define ATELIER_MODELS_OPTIMIZER_H

#include "models/params.h"

struct optimizer {
    const struct params *params; /* the caller's; with gradients */
    struct tensor m, v;          /* slabs: running mean and variance of the gradients */
    struct tensor squares;       /* [parameters], the gradients' squared norms */
    float *host_squares;
    bool *overflowed; /* [groups of gradients] */
    int step;         /* updates done */
};

struct optimizer_settings {
    float lr, beta1, beta2, eps;
    float decay;     /* decoupled, on parameters with `decay` alone */
    float v_max;     /* the running variance is clipped to it; INFINITY: never */
    float clip_norm; /* gradients are scaled down to this global norm; INFINITY: never */
    float replicas;  /* processes whose gradients are summed: bounds of F16 gradients' scales; 0 counts as 1 */
};

/* Moments start at zero. 0 or -1. */
int optimizer_new(struct optimizer *o, const struct params *p);
void optimizer_free(struct optimizer *o);

/* One update from params->grads, which keep their values. Returns their global norm before clipping; when it is not
 * finite, nothing was changed and the step does not count. Groups of F16 gradients that are not finite are left out of
 * both; then the groups' scales follow (MODELS.md, 2). */
float optimizer_step(struct optimizer *o, const struct optimizer_settings *s);

#endif
