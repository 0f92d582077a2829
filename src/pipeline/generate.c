#include "pipeline/generate.h"

#include "pipeline/host_bytes.h"
#include "pipeline/job.h"
#include "pipeline/report.h"
#include "pipeline/words.h"

#include <stdlib.h>
#include <string.h>

/* Of how many its progress is told, until the sampler itself says. */
static int steps_to_tell(const bl_request *r, const bl_schedule *s) {
    return bl_sampler_adapts(r->sampler) ? BL_ADAPTIVE_PARTS : s->steps;
}

/* The prompt, unless a batch before has encoded it. That takes no time to speak of where it was known. */
static int encode_prompt(bl_job *j, bl_error *err) {
    bl_condition *c = &j->condition;
    const bool there = c->context != NULL;
    double began = bl_generation_now(j->generation);
    int result = there ? 0 : bl_job_enter(j, "prompt", 0, err);
    j->misses = there ? 0 : c->missing;
    j->hits = c->encoded_count - j->misses;
    if (j->misses && j->p->encoded) {
        *j->p->encoded = true;
    }
    if (!result && !there) {
        result = bl_condition_encode(c, j->generation, j->p->arch, j->p->encodings, err);
    }
    if (!result && !j->misses) {
        bl_generation_host(j->generation, "prompt", began);
        bl_generation_name(j->generation, "prompt");
    }
    return result;
}

static int run_batch(bl_job *j, bl_error *err) {
    const bl_request *r = &j->r;
    j->height = r->height / bl_job_family(j)->downscale;
    j->width = r->width / bl_job_family(j)->downscale;
    size_t n = bl_job_floats(j, j->height, j->width);
    int result = encode_prompt(j, err);
    if (!result && j->at.encode_init >= 0) {
        result = bl_job_encode_init(j, err);
    }
    free(j->x);
    j->x = calloc((size_t)r->o->batch * n, sizeof *j->x);
    if (!result && !j->x) {
        result = bl_fail_memory(err, "the latents", n * sizeof *j->x);
    }
    for (int b = 0; b < r->o->batch && !result && j->init_latents; b++) {
        memcpy(j->x + (size_t)b * n, j->init_latents, n * sizeof *j->x);
    }
    if (!result) {
        result = bl_job_enter(j, "denoise", steps_to_tell(r, r->base), err);
    }
    if (!result) {
        result = bl_job_denoise(j, j->at.prologue, j->at.denoise, r->base, j->init_latents != NULL, err);
    }
    if (!result && r->second) {
        result = bl_job_upscale(j, err);
        if (!result) {
            result = bl_job_enter(j, "hires", steps_to_tell(r, r->second), err);
        }
        if (!result) {
            result = bl_job_denoise(j, j->at.prologue_hires, j->at.denoise_hires, r->second, true, err);
        }
    }
    return result ? result : bl_job_deliver(j, err);
}

static int end(bl_job *j, bool finished, bl_error *err) {
    return j->generation ? bl_generation_end(j->generation, finished, err) : 0;
}

static const bl_device_caps *caps_of(const bl_pipeline *p) {
    return bl_memory_caps(bl_modules_given(p->modules)->memory);
}

/* One batch: planned, run, told. */
static int generate_batch(bl_job *j, bl_placement *placement, bl_report *report, bl_trace *trace, int number,
                          bl_error *err) {
    const ballast_generate_options *o = j->r.o;
    bl_told told;
    const bool more = number + 1 < o->count, differs = more && bl_job_differs_later(j);
    placement->repeats = more && !differs;
    int result = bl_job_declare(j, placement, err);
    if (!result && !placement->repeats) {
        result = differs ? bl_job_declare_after(j, err) : bl_job_expect(j, placement, err);
    }
    if (!result) {
        result = bl_job_mention(j, bl_generation_start(j->generation, placement, bl_job_poll, j, err), err);
    }
    if (!result && !number) {
        bl_job_tell(j, placement);
    }
    if (!result) {
        result = run_batch(j, err);
    }
    int ended = end(j, !result, err);
    if (result || ended) {
        return result ? result : ended;
    }
    if (!j->p->encodings) {
        bl_condition_forget(&j->condition);
    }
    report->images += o->batch;
    /* one hint a request: it would be the same after every batch */
    bl_tell_wish wish = {
        .hint = o->hints && !more, .again = o->count > 1 || j->p->again, .both = o->verbose != 0};
    bl_tell(&told, j->generation, wish);
    if (o->trace_path) {
        result = bl_tell_trace(trace, j->generation, o->trace_path, j->first_image, o->batch, err);
    }
    return result ? result : bl_report_add(report, j, &told, err);
}

int bl_generate(json_t **report, const bl_pipeline *p, const ballast_generate_options *o, bl_error *err) {
    bl_job j = {.p = p};
    bl_placement placement;
    bl_report r;
    bl_trace trace = {0};
    int result = bl_report_begin(&r, report != NULL, err);
    result = result ? result : bl_words_need(p->arch, &p->words, err);
    if (!result) {
        result = bl_job_open(&j, p, o, err);
    }
    if (!result) {
        result = bl_placement_parse(&placement, o, caps_of(p), err);
    }
    if (!result) {
        placement.host_bytes = bl_host_bytes(&j.r, &j.condition, p->arch, placement.tiled != BL_TILED_OFF);
    }
    for (int i = 0; !result && i < o->count; i++) {
        j.first_image = i * o->batch;
        memset(j.enough, 0, sizeof j.enough);
        result = bl_job_unwanted(&j) ? 0 : generate_batch(&j, &placement, &r, &trace, i, err);
    }
    result = bl_trace_close(&trace, result, err);
    if (!result && report) {
        result = bl_report_end(report, &r, &j, err);
    }
    bl_report_clear(&r);
    bl_job_close(&j);
    return result;
}

int bl_generate_plan(json_t **plan, char **text, const bl_pipeline *p, const ballast_generate_options *o,
                     const bl_plan_wish *wish, bl_error *err) {
    *plan = NULL;
    *text = NULL;
    bl_job j;
    bl_placement placement;
    bool differs = false; /* the batches after the first, which are what is told of */
    int result = bl_job_open(&j, p, o, err);
    if (!result) {
        result = bl_placement_parse(&placement, o, caps_of(p), err);
    }
    if (!result) {
        placement.host_bytes = bl_host_bytes(&j.r, &j.condition, p->arch, placement.tiled != BL_TILED_OFF);
    }
    if (!result) {
        j.looked_at = true;
        differs = o->count > 1 && bl_job_differs_later(&j);
        placement.repeats = o->count > 1 && !differs;
        result = bl_job_declare(&j, &placement, err);
    }
    if (!result && !placement.repeats) {
        result = differs ? bl_job_declare_after(&j, err) : bl_job_expect(&j, &placement, err);
    }
    if (!result) {
        bl_plan_wish whole = *wish;
        whole.count = o->count;
        whole.chunks = j.condition.encoded_count;
        whole.missing = j.condition.missing;
        whole.cached = p->encodings != NULL;
        whole.first = differs ? j.generation : NULL;
        placement.repeats = o->count > 1;
        result = bl_job_mention(
            &j, bl_tell_plan(plan, text, differs ? j.after : j.generation, &placement, &whole, err), err);
    }
    if (!result) {
        bl_job_tell(&j, &placement);
    }
    bl_job_close(&j);
    return result;
}
