#include "pipeline/report.h"

#include "core/clock.h"

#include <stdio.h>

int bl_report_begin(bl_report *r, bool wanted, bl_error *err) {
    *r = (bl_report){.began = bl_now(), .batches = wanted ? json_array() : NULL};
    return wanted && !r->batches ? bl_fail_memory(err, "the report", 0) : 0;
}

static json_t *batch_json(const bl_job *j, const bl_told *told) {
    json_t *batch = bl_tell_report(j->generation, told);
    return json_object_set_new(batch, "text_cache",
                               json_pack("{s:i, s:i}", "hits", j->hits, "misses", j->misses))
               ? (json_decref(batch), NULL)
               : batch;
}

int bl_report_add(bl_report *r, const bl_job *j, const bl_told *told, bl_error *err) {
    r->hits += j->hits;
    r->misses += j->misses;
    if (!r->batches) {
        return 0;
    }
    json_decref(r->hint);
    r->hint = bl_hint_json(&told->hint);
    return json_array_append_new(r->batches, batch_json(j, told)) || !r->hint
               ? bl_fail_memory(err, "the report", 0)
               : 0;
}

/* A number, or past 2^63 - 1, where JSON's readers stop, a string of digits. */
static json_t *seed_json(uint64_t seed) {
    char digits[24];
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)seed);
    return seed <= INT64_MAX ? json_integer((json_int_t)seed) : json_string(digits);
}

/* What the request found in the cache of encodings, and how full that is now. */
static json_t *cache_json(const bl_report *r, const bl_encodings *encodings) {
    bl_encodings_size size = encodings ? bl_encodings_size_of(encodings) : (bl_encodings_size){0};
    return json_pack("{s:i, s:i, s:I, s:I, s:I, s:I}", "hits", r->hits, "misses", r->misses, "entries",
                     (json_int_t)size.entries, "most_entries", (json_int_t)size.most_entries, "bytes",
                     (json_int_t)size.bytes, "most_bytes", (json_int_t)size.most_bytes);
}

int bl_report_end(json_t **out, bl_report *r, const bl_job *j, bl_error *err) {
    const bl_pipeline *p = j->p;
    const bl_request *q = &j->r;
    const ballast_generate_options *o = q->o;
    *out = NULL;
    if (!r->batches) {
        return 0;
    }
    *out = json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:s, s:s, s:i, s:f, s:o, s:o, s:i, s:f, s:O, "
                     "s:O?, s:o, s:o}",
                     "schema", BL_REPORT_SCHEMA, "version", BALLAST_VERSION, "model", p->model_name, "device",
                     bl_memory_caps(bl_modules_given(p->modules)->memory)->name, "prompt", o->prompt,
                     "negative_prompt", o->negative_prompt ? o->negative_prompt : "", "width",
                     q->second ? q->hires_width : q->width, "height", q->second ? q->hires_height : q->height,
                     "sampler", bl_sampler_name(q->sampler), "schedule", bl_schedule_name(q->base->schedule),
                     "steps", o->steps, "cfg", o->cfg, "guidance",
                     p->arch->family->guidance ? json_real(q->guidance) : json_null(), "seed",
                     seed_json(o->seeds ? o->seeds[0] : o->seed), "images", r->images, "wall_seconds",
                     bl_now() - r->began, "batches", r->batches, "hint", r->hint, "adapters",
                     bl_adapters_json(&j->adapters), "text_cache", cache_json(r, p->encodings));
    return *out ? 0 : bl_fail_memory(err, "the report", 0);
}

void bl_report_clear(bl_report *r) {
    json_decref(r->batches);
    json_decref(r->hint);
    *r = (bl_report){0};
}
