/* What training takes up on a device: the model is made on a table that only counts. */
#include "kernels/plan.h"
#include "common/err.h"
#include "common/log.h"
#include "models/optimizer.h"
#include "trainer/trainer.h"
#include <inttypes.h>

#define GIB ((double)(1 << 30))

/* Bytes of each kind. */
struct memory_plan {
    size_t weights, gradients, moments, average, activations;
};

static int count(struct trainer *t, struct memory_plan *m)
{
    struct optimizer o = {0};
    const struct kernels *device = t->k;
    t->k = plan_begin(device->compute);
    t->planning = true;
    int rc = t->task->open(t);
    if (!rc) {
        const struct params *p = t->task->params(t);
        size_t slab = p->total * 4;
        *m = (struct memory_plan){.weights = slab, .gradients = slab, .activations = plan_bytes() - 2 * slab};
        size_t before = plan_bytes();
        rc = optimizer_new(&o, p);
        m->moments = plan_bytes() - before;
        m->average = t->settings.average > 0 ? slab : 0;
        optimizer_free(&o);
    }
    t->task->close(t);
    t->model = NULL;
    t->planning = false;
    t->k = device;
    return rc;
}

int trainer_plan(struct trainer *t)
{
    struct memory_plan m;
    if (!t->k->batches && !t->settings.plan)
        return 0;
    if (count(t, &m))
        return -1;
    size_t workspace = plan_workspace(t->scratch), free_bytes = t->k->free_bytes();
    size_t all = m.weights + m.gradients + m.moments + m.average + m.activations + workspace;
    log_info("memory: %.3f GiB = weights %.3f + gradients %.3f + moments %.3f + average %.3f + activations %.3f + "
             "workspace %.3f",
             all / GIB, m.weights / GIB, m.gradients / GIB, m.moments / GIB, m.average / GIB, m.activations / GIB,
             workspace / GIB);
    if (all <= free_bytes)
        return 0;
    return err_set(ERR_AGAIN,
                   "training takes %.2f GiB, but the device has %.2f free: give a smaller --micro (now %d)%s, "
                   "--average 0, or a smaller model",
                   all / GIB, free_bytes / GIB, trainer_micro(t),
                   t->task->bit == TASK_PRIOR && !t->settings.recompute ? ", --recompute 1" : "");
}
