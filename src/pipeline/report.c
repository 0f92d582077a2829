#include "pipeline/report.h"

#include "core/clock.h"

#include <stdio.h>

int bl_report_begin(bl_report *r, bool wanted, bl_error *err) {
    *r = (bl_report){.began = bl_now(), .batches = wanted ? json_array() : NULL};
    return wanted && !r->batches ? bl_fail_memory(err, "the report", 0) : 0;
}

int bl_report_add(bl_report *r, const bl_generation *g, const bl_told *told, bl_error *err) {
    if (!r->batches) {
        return 0;
    }
    json_decref(r->hint);
    r->hint = bl_hint_json(&told->hint);
    return json_array_append_new(r->batches, bl_tell_report(g, told)) || !r->hint
               ? bl_fail_memory(err, "the report", 0)
               : 0;
}

/* A number, or past 2^63 - 1, where JSON's readers stop, a string of digits. */
static json_t *seed_json(uint64_t seed) {
    char digits[24];
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)seed);
    return seed <= INT64_MAX ? json_integer((json_int_t)seed) : json_string(digits);
}

int bl_report_end(json_t **out, bl_report *r, const bl_pipeline *p, const bl_request *q,
                  const bl_adapters *adapters, bl_error *err) {
    const ballast_generate_options *o = q->o;
    *out = NULL;
    if (!r->batches) {
        return 0;
    }
    *out = json_pack(
        "{s:i, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:s, s:s, s:i, s:f, s:o, s:i, s:f, s:O, s:O?, s:o}",
        "schema", BL_REPORT_SCHEMA, "version", BALLAST_VERSION, "model", p->model_name, "device",
        bl_memory_caps(bl_modules_given(p->modules)->memory)->name, "prompt", o->prompt, "negative_prompt",
        o->negative_prompt ? o->negative_prompt : "", "width", q->second ? q->hires_width : q->width,
        "height", q->second ? q->hires_height : q->height, "sampler", bl_sampler_name(q->sampler), "schedule",
        bl_schedule_name(q->base->schedule), "steps", o->steps, "cfg", o->cfg, "seed",
        seed_json(o->seeds ? o->seeds[0] : o->seed), "images", r->images, "wall_seconds", bl_now() - r->began,
        "batches", r->batches, "hint", r->hint, "adapters", bl_adapters_json(adapters));
    return *out ? 0 : bl_fail_memory(err, "the report", 0);
}

void bl_report_clear(bl_report *r) {
    json_decref(r->batches);
    json_decref(r->hint);
    *r = (bl_report){0};
}
