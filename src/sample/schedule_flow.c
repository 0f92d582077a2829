/* The list of a model trained by flow matching. */
#include "sample/flow.h"
#include "sample/schedule_parts.h"

#include <string.h>

/* Those that walk sigmas and draw no noise: their formulas hold as they are (flow.h). */
static bool walks_flow(bl_sampler_id id) {
    return id == BL_SAMPLER_EULER || id == BL_SAMPLER_HEUN || id == BL_SAMPLER_DPM2 ||
           id == BL_SAMPLER_DPMPP_2M || id == BL_SAMPLER_LMS;
}

static int check_flow(const bl_schedule_options *o, bl_error *err) {
    if (!walks_flow(o->sampler)) {
        return bl_fail(
            err, BL_E_UNSUPPORTED,
            "sampler: %s does not walk models trained by flow matching; there are Euler, Heun, DPM2, "
            "DPM++ 2M and LMS",
            bl_sampler_name(o->sampler));
    }
    if (o->schedule != BL_SCHEDULE_AUTOMATIC && o->schedule != BL_SCHEDULE_SIMPLE) {
        return bl_fail(
            err, BL_E_UNSUPPORTED,
            "schedule: '%s' is none of models trained by flow matching; there are automatic and simple",
            bl_schedule_name(o->schedule));
    }
    return 0;
}

/* Steps that strength leaves out of n. */
static int flow_first(const bl_schedule_options *o, int n) {
    if (o->start == BL_FROM_NOISE) {
        return 0;
    }
    if (o->compat == BL_COMPAT_DIFFUSERS) {
        return (int)(n - n * o->strength);
    }
    int first = o->compat == BL_COMPAT_A1111 ? n - bl_a1111_encode_step(o, n) - 1 : n - o->steps;
    return first > 0 ? first < n ? first : n - 1 : 0;
}

int bl_schedule_fill_flow(bl_schedule *s, const bl_schedule_options *o, int total, bl_error *err) {
    int rc = check_flow(o, err);
    if (rc) {
        return rc;
    }
    bl_flow_sigmas(s->sigmas, total, o->flow_shift, o->flow_least);
    for (int i = 0; o->schedule == BL_SCHEDULE_SIMPLE && i < total; i++) {
        const int level = BL_TRAIN_STEPS - (int)(i * ((double)BL_TRAIN_STEPS / total));
        s->sigmas[i] = bl_flow_sigma(level / (double)BL_TRAIN_STEPS, o->flow_shift);
    }
    const int first = flow_first(o, total), n = total - first;
    if (n < 1) {
        return bl_schedule_no_step(o, err);
    }
    memmove(s->sigmas, s->sigmas + first, ((size_t)n + 1) * sizeof *s->sigmas);
    memcpy(s->targets, s->sigmas + 1, (size_t)n * sizeof *s->targets);
    for (int i = 0; i < n; i++) {
        s->timesteps[i] = BL_TRAIN_STEPS * s->sigmas[i];
    }
    s->flow = true;
    s->compat = o->compat;
    s->schedule = o->schedule;
    s->steps = n;
    s->image_scale = 1 - s->sigmas[0];
    s->noise_scale = s->sigmas[0];
    return 0;
}
