/* Where a run stands, as state.json in a checkpoint. */
#include "common/err.h"
#include "trainer/trainer.h"
#include <float.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#define STATE_LIMIT (1u << 20) /* bytes */

int state_save(const struct run_state *s, const struct params *p, const char *dir)
{
    struct buf text = {0};
    buf_printf(&text,
               "{\"step\": %" PRIu64 ", \"position\": %" PRIu64 ", \"elapsed\": %.17g, \"best_mean\": %.17g, "
               "\"window_sum\": %.17g, \"window\": %" PRIu64 ", \"windows\": %" PRIu64 ", \"halvings\": %" PRIu64
               ", \"skipped\": %" PRIu64 ", \"scales\": [",
               s->step, s->position, s->elapsed, s->best_mean, s->window_sum, s->window, s->windows, s->halvings,
               s->skipped);
    for (int g = 0; p->k->compute == F16 && g < p->groups; g++)
        buf_printf(&text, "%s[%.9g, %d]", g ? ", " : "", p->scales[g].scale, p->scales[g].cooldown);
    buf_printf(&text, "]}\n");
    char *path = xasprintf("%s/state.json", dir);
    int rc = file_write(path, text.data, text.len);
    free(path);
    buf_free(&text);
    return rc;
}

/* A run that was in another precision, or had no scales yet, keeps those that it begins with. */
static int load_scales(struct params *p, json_t *scales)
{
    if (!scales || p->k->compute != F16 || json_array_size(scales) != (size_t)p->groups)
        return 0;
    for (int g = 0; g < p->groups; g++) {
        double scale;
        if (json_unpack(json_array_get(scales, (size_t)g), "[Fi]", &scale, &p->scales[g].cooldown) ||
            !(scale > 0 && scale < (double)FLT_MAX))
            return err_set(ERR_DATA, "\"scales\" holds no scale and count at place %d", g);
        p->scales[g].scale = (float)scale;
    }
    return 0;
}

int state_load(struct run_state *s, struct params *p, const char *dir)
{
    struct buf file = {0};
    char *path = xasprintf("%s/state.json", dir);
    json_error_t error;
    json_int_t step, position, window, windows = 0, halvings, skipped;
    json_t *scales = NULL;
    int rc = file_read(path, STATE_LIMIT, &file);
    json_t *j = rc ? NULL : json_loadb((const char *)file.data, file.len, 0, &error);
    if (!rc && (!j || json_unpack_ex(j, &error, 0, "{sI sI sF sF sF sI s?I sI sI s?o}", "step", &step, "position",
                                     &position, "elapsed", &s->elapsed, "best_mean", &s->best_mean, "window_sum",
                                     &s->window_sum, "window", &window, "windows", &windows, "halvings", &halvings,
                                     "skipped", &skipped, "scales", &scales))) {
        rc = err_set(ERR_DATA, "%s: %s", path, error.text);
    } else if (!rc && ((step | position | window | windows | halvings | skipped) < 0 || skipped > step)) {
        rc = err_set(ERR_DATA, "%s: damaged: a count below 0, or more steps skipped than done", path);
    } else if (!rc) {
        s->step = (uint64_t)step;
        s->position = (uint64_t)position;
        s->window = (uint64_t)window;
        s->windows = (uint64_t)windows;
        s->halvings = (uint64_t)halvings;
        s->skipped = (uint64_t)skipped;
        rc = load_scales(p, scales) ? err_wrap("%s", path) : 0;
    }
    json_decref(j);
    buf_free(&file);
    free(path);
    return rc;
}
