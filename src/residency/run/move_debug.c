#include "residency/run/move_debug.h"

/* "bf16", as flags and documents write it; checkpoints write BF16. */
typedef struct type_name {
    char text[16];
} type_name;

static type_name plain(const char *dtype) {
    type_name name = {""};
    for (size_t i = 0; dtype[i] && i + 1 < sizeof name.text; i++) {
        char c = dtype[i];
        name.text[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    return name;
}

void bl_move_debug_decision(const bl_log *log, const bl_problem *p, const bl_plan *plan, const bl_decision *d,
                            uint64_t memory_bytes) {
    const bl_problem_module *m = &p->modules[d->module];
    bl_log_line(
        log, BL_LOG_INFO,
        "offload mode=%s op=%s why=%s gpu=%.3f/%.2f used=%.2f low=%.2f module=%s dtype=%s size=%.3f%s%s",
        bl_offload_name(plan->mode), d->op, bl_why_name(d->why), (double)d->used_bytes / 1e9,
        (double)memory_bytes / 1e9, memory_bytes ? (double)d->used_bytes / (double)memory_bytes : 0.0, d->low,
        m->name, plain(m->dtype).text, (double)d->bytes / 1e9, *m->model ? " model=" : "", m->model);
}

void bl_move_debug_block(const bl_log *log, const bl_problem *p, const bl_plan *plan, const bl_move *v,
                         uint64_t used_bytes, uint64_t memory_bytes) {
    const bl_problem_module *m = &p->modules[v->module];
    bl_log_line(
        log, BL_LOG_INFO,
        "offload mode=%s op=%s why=%s gpu=%.3f/%.2f used=%.2f module=%s block=%s dtype=%s size=%.3f%s%s",
        bl_offload_name(plan->mode), bl_move_name(v->kind), bl_why_name(v->why), (double)used_bytes / 1e9,
        (double)memory_bytes / 1e9, memory_bytes ? (double)used_bytes / (double)memory_bytes : 0.0, m->name,
        m->blocks[v->block].name, plain(m->dtype).text, (double)m->blocks[v->block].bytes / 1e9,
        *m->model ? " model=" : "", m->model);
}
