/* How far the weights of the phase that begins are brought in. */
#include "pipeline/generation_parts.h"

void bl_generation_loads(const bl_generation *g, uint64_t *all, uint64_t *done) {
    *all = *done = 0;
    if (!g->running || g->current < 0) {
        return;
    }
    const bl_problem *p = g->problem;
    const bl_problem_phase *f = &p->phases[g->current];
    int end = g->current + 1 < p->phase_count ? p->phases[g->current + 1].first_run : p->run_count;
    int first = f->first_run, behind = first + (end - first) / (f->passes > 0 ? f->passes : 1);
    int begun = bl_executor_begun(bl_memory_executor(g->memory));
    for (int i = 0; i < g->plan->move_count; i++) {
        const bl_move *v = &g->plan->moves[i];
        if (v->kind == BL_MOVE_COPY && v->before >= first && v->before < behind) {
            uint64_t bytes = p->modules[v->module].blocks[v->block].bytes;
            *all += bytes;
            *done += i < begun ? bytes : 0;
        }
    }
    if (*done >= *all) {
        *all = *done = 0;
    }
}
