#include "residency/tell/decisions.h"

#include <string.h>

#define KINDS (BL_MOVE_LEAVE + 1)

/* Blocks and bytes of what is one entry. */
typedef struct sum {
    int blocks;
    uint64_t bytes;
} sum;

/* The phase that is at work when run `after` has ended. */
static int phase_after(const bl_problem *p, int after) {
    int phase = 0;
    while (phase + 1 < p->phase_count && p->phases[phase + 1].first_run <= after + 1) {
        phase++;
    }
    return phase;
}

static json_t *entry(const bl_problem *p, int phase, const char *op, bl_why why, int module, sum s) {
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:I}", "phase", p->phases[phase].name, "op", op, "why",
                     bl_why_name(why), "model", p->modules[module].model, "module", p->modules[module].name,
                     "blocks", s.blocks, "bytes", (json_int_t)s.bytes);
}

/* Whole modules, as mode balanced decides. */
static bool add_decision(json_t *list, const bl_decision *d, const bl_problem *p) {
    sum all = {p->modules[d->module].block_count, d->bytes};
    json_t *e = entry(p, phase_after(p, d->run - 1), d->op, d->why, d->module, all);
    bool fine = e && !json_object_set_new(e, "used_bytes", json_integer((json_int_t)d->used_bytes)) &&
                !json_object_set_new(e, "low", json_real(d->low));
    return !json_array_append_new(list, e) && fine;
}

static bool add_phase(json_t *list, const bl_plan *plan, const bl_problem *p, int phase) {
    sum sums[KINDS][BL_PROBLEM_MODULES][BL_WHY_COUNT];
    bool fine = true;
    memset(sums, 0, sizeof sums);
    for (int i = 0; i < plan->move_count; i++) {
        const bl_move *v = &plan->moves[i];
        if (phase_after(p, v->after) == phase) {
            sum *s = &sums[v->kind][v->module][v->why];
            s->blocks++;
            s->bytes += p->modules[v->module].blocks[v->block].bytes;
        }
    }
    for (int kind = 0; kind < KINDS; kind++) {
        for (int m = 0; m < p->module_count; m++) {
            for (int why = 0; why < BL_WHY_COUNT && fine; why++) {
                fine = !sums[kind][m][why].blocks ||
                       !json_array_append_new(list, entry(p, phase, bl_move_name((bl_move_kind)kind),
                                                          (bl_why)why, m, sums[kind][m][why]));
            }
        }
    }
    return fine;
}

json_t *bl_decisions_json(const bl_plan *plan, const bl_problem *p) {
    json_t *list = json_array();
    bool fine = list;
    for (int i = 0; i < plan->decision_count && fine; i++) {
        fine = add_decision(list, &plan->decisions[i], p);
    }
    for (int i = 0; i < p->phase_count && fine && !plan->decision_count; i++) {
        fine = add_phase(list, plan, p, i);
    }
    if (!fine) {
        json_decref(list);
        return NULL;
    }
    return list;
}
