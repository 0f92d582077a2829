#include "pipeline/request_schedule.h"

#include "sample/flow.h"

#include <math.h>

#define TIMES_STEP 8   /* steps that a prologue of times has room for, at a time */
#define MOST_SHIFT 1e9 /* and its inverse the least: 1000 levels still stay apart */

/* diffusers' pipelines take timesteps as the folder's scheduler says, where nothing else is asked for. */
static void take_spacing(bl_schedule_options *so, const bl_architecture *arch) {
    static const bl_schedule_id spacings[] = {[BL_SPACING_UNKNOWN] = BL_SCHEDULE_AUTOMATIC,
                                              [BL_SPACING_LEADING] = BL_SCHEDULE_LEADING,
                                              [BL_SPACING_LINSPACE] = BL_SCHEDULE_LINSPACE,
                                              [BL_SPACING_TRAILING] = BL_SCHEDULE_TRAILING};
    if (so->compat == BL_COMPAT_DIFFUSERS && so->spacing == BL_SCHEDULE_AUTOMATIC) {
        so->spacing = spacings[arch->spacing];
        so->schedule = so->schedule == BL_SCHEDULE_AUTOMATIC ? so->spacing : so->schedule;
    }
}

/* The factor by which a flow model's noise levels are shifted for a picture of this size; 0 of other models.
 * A configuration's line from one size to another ends nowhere: what it gives is held against what leaves the
 * levels apart. */
static int take_flow_shift(double *out, const bl_architecture *arch, int width, int height, int steps,
                           bl_error *err) {
    const bl_flow_rule *f = &arch->flow;
    const int side = bl_family_side(arch->family), tokens = width / side * (height / side);
    *out = 0;
    if (arch->prediction != BL_PREDICT_FLOW) {
        return 0;
    }
    switch (f->kind) {
    case BL_SHIFT_BY_SIZE:
        *out = bl_flow_shift_by_size(tokens, f->low, f->high, f->low_tokens, f->high_tokens, f->linear);
        break;
    case BL_SHIFT_BY_STEPS:
        *out = bl_flow_shift_of(tokens, steps);
        *out = f->linear ? log(*out) : *out;
        break;
    default:
        *out = f->shift;
        break;
    }
    return *out >= 1 / MOST_SHIFT && *out <= MOST_SHIFT
               ? 0
               : bl_fail(err, BL_E_UNSUPPORTED,
                         "scheduler_config.json shifts the noise levels of a picture of %d x %d by %g; "
                         "Ballast runs %g to %g: choose another size, or correct its \"shift\", or "
                         "\"base_shift\" and \"max_shift\"",
                         width, height, *out, 1 / MOST_SHIFT, MOST_SHIFT);
}

int bl_request_schedule(bl_schedule **out, const bl_request *r, const bl_architecture *arch,
                        bl_schedule_id schedule, bl_schedule_id spacing, bool second, bl_error *err) {
    const ballast_generate_options *o = r->o;
    bl_schedule_options so = {.compat = r->compat,
                              .sampler = r->sampler,
                              .schedule = schedule,
                              .spacing = spacing,
                              .steps = o->steps,
                              .start = o->init_rgb ? BL_FROM_IMAGE : BL_FROM_NOISE,
                              .strength = o->strength,
                              .zero_snr = arch->zero_snr,
                              .aligned = arch->family->aligned,
                              .alpha_to_one = arch->alpha_to_one};
    take_spacing(&so, arch);
    if (second) {
        so.start = BL_FROM_SECOND_PASS;
        so.strength = o->hires_strength;
        so.steps = o->hires_steps ? o->hires_steps : o->steps;
    }
    const double least = 1.0 / BL_TRAIN_STEPS;
    int result = take_flow_shift(&so.flow_shift, arch, second ? r->hires_width : r->width,
                                 second ? r->hires_height : r->height, so.steps, err);
    if (!result && arch->flow.to_least) {
        so.flow_least = arch->flow.kind == BL_SHIFT_FIXED ? bl_flow_sigma(least, so.flow_shift) : least;
    }
    return result ? result : bl_schedule_new(out, &so, err);
}

int bl_request_times(const bl_request *r, const bl_family *family, bool second) {
    return family->timed_prologue
               ? (bl_request_evaluations(r, second) + TIMES_STEP - 1) / TIMES_STEP * TIMES_STEP
               : 0;
}
