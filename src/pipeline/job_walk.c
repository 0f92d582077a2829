/* How a pass of the sampler is cut where TAESD makes previews between its steps. */
#include "pipeline/job.h"
#include "sample/sampler.h"

#include <stdlib.h>

/* A walk over one number, to see how often the denoiser is called. */
typedef struct counting {
    int calls;
    int *ends;       /* [room] calls until each step has ended */
    int room, steps; /* steps: that the sampler tells of, which may be fewer than the schedule's */
} counting;

static int count_call(void *payload, const float *x, double sigma, double timestep, float *denoised,
                      bl_error *err) {
    (void)sigma, (void)timestep, (void)err;
    ((counting *)payload)->calls++;
    *denoised = *x / 2;
    return 0;
}

static int no_noise(void *payload, double sigma, double next, float *noise, bl_error *err) {
    (void)payload, (void)sigma, (void)next, (void)err;
    *noise = 0;
    return 0;
}

static int count_step(void *payload, int step, int steps, const float *x, const float *denoised,
                      bl_error *err) {
    counting *c = payload;
    (void)steps, (void)x, (void)denoised, (void)err;
    if (step == c->steps && step < c->room) {
        c->ends[c->steps++] = c->calls;
    }
    return 0;
}

/* Steps; or an error. */
static int count_calls(int *ends, const bl_request *r, const bl_schedule *schedule, bl_error *err) {
    counting c = {.ends = ends, .room = schedule->steps};
    bl_sampler *sampler = NULL;
    float x = 1;
    int result = bl_sampler_new(&sampler, r->sampler, 1, err);
    if (!result) {
        bl_sampler_calls calls = {&c, count_call, no_noise, count_step};
        result = bl_sampler_run(sampler, schedule, &(bl_sampler_options){.eta = r->o->eta}, &x, &calls, err);
    }
    bl_sampler_free(&sampler);
    return result ? result : c.steps;
}

bool bl_job_cannot_preview(const bl_job *j) {
    return bl_sampler_adapts(j->r.sampler);
}

static bool is_wanted(const bl_job *j) {
    return j->r.previews == BL_PREVIEW_TAESD && (j->r.o->preview || j->looked_at) &&
           !bl_job_cannot_preview(j);
}

/* Steps from one of TAESD's previews to the next; 0: there are none. */
static int every_of(const bl_job *j, int steps) {
    int least = (steps - 1 + BL_MOST_PREVIEWS - 1) / BL_MOST_PREVIEWS, every = (int)j->r.o->preview_every;
    return every >= steps ? 0 : every > least ? every : least;
}

int bl_job_declare_walk(bl_job *j, bool second, bl_shape_key key, bl_error *err) {
    const bl_schedule *schedule = second ? j->r.second : j->r.base;
    const char *name = second ? "denoise hires" : j->r.second ? "denoise base" : "denoise";
    const int evaluations = bl_request_evaluations(&j->r, second),
              packed = bl_family_packed(bl_job_family(j));
    bl_job_walk w = {.first = -1};
    int *ends = calloc((size_t)schedule->steps + 1, sizeof *ends), done = 0, steps = 0;
    int result =
        ends ? 0 : bl_fail_memory(err, "the steps", (unsigned long long)schedule->steps * sizeof *ends);
    if (!result && is_wanted(j)) {
        result = steps = count_calls(ends, &j->r, schedule, err);
        w.every = steps > 0 ? every_of(j, steps) : 0;
    }
    for (int step = w.every; w.every && step < steps && result >= 0; step += w.every) {
        result = bl_generation_phase(j->generation, name, "pipeline", bl_family_denoiser(bl_job_family(j)),
                                     key, ends[step - 1] - done, err);
        w.first = w.first < 0 ? result : w.first;
        done = ends[step - 1];
        if (result >= 0) {
            result = bl_preview_phase(j->generation, j->r.o->batch, packed * key.height, packed * key.width,
                                      bl_generation_kept(j->generation, result), err);
        }
    }
    if (result >= 0) {
        result = w.last =
            bl_generation_phase(j->generation, name, "pipeline", bl_family_denoiser(bl_job_family(j)), key,
                                evaluations - done, err);
    }
    free(ends);
    w.first = w.first < 0 ? w.last : w.first;
    j->walk[second] = w;
    return result < 0 ? result : w.first;
}
