/* Schedules: how far a run is, its step size, and whether its loss has stopped falling. */
#include "common/log.h"
#include "trainer/trainer.h"
#include <inttypes.h>
#include <math.h>

double cosine(double a, double b, double f)
{
    return b + (a - b) * 0.5 * (1 + cos(M_PI * fmin(1, fmax(0, f))));
}

double trainer_progress(const struct trainer *t, int64_t length)
{
    if (length)
        return fmin(1, (double)t->state.step / (double)length);
    if (t->settings.minutes > 0)
        return fmin(1, t->state.elapsed / (60 * t->settings.minutes));
    return fmin(1, (double)t->state.step / (double)t->settings.steps);
}

float schedule_step_size(const struct trainer *t)
{
    const struct settings *s = &t->settings;
    double warm = s->warmup ? fmin(1, (double)(t->state.step + 1) / (double)s->warmup) : 1;
    if (s->plateau)
        return (float)(warm * s->lr * pow(0.5, (double)t->state.halvings));
    return (float)(warm * cosine(s->lr, s->lr_end, trainer_progress(t, s->lr_steps)));
}

void schedule_watch(struct trainer *t, double loss)
{
    struct run_state *s = &t->state;
    if (!t->settings.plateau)
        return;
    s->window_sum += loss;
    if (++s->window < (uint64_t)t->settings.plateau)
        return;
    double mean = s->window_sum / (double)s->window;
    if (s->windows && mean >= s->best_mean && s->halvings < (uint64_t)t->settings.halvings) {
        s->halvings++;
        log_info("step %" PRIu64 ": the loss has stopped falling; step size halved to %.3g", s->step,
                 t->settings.lr * pow(0.5, (double)s->halvings));
    }
    if (!s->windows++ || mean < s->best_mean)
        s->best_mean = mean;
    s->window = 0;
    s->window_sum = 0;
}
