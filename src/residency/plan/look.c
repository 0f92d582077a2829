#include "residency/plan/pager_state.h"
#include "residency/problem/follow.h"

#include <stdlib.h>

/* Seconds of each block in a listed phase, at its level. */
static const double *block_seconds(const pager *g, int phase, uint64_t *arena_bytes) {
    const bl_problem_phase *f = &g->p->phases[phase];
    int level = phase < g->p->phase_count ? g->plan->phases[phase].level
                                          : bl_builder_level(g->p, phase, bl_builder_one_block(g->p, phase));
    level = level < f->level_count ? level : f->level_count - 1; /* too large for the budget: then it fails */
    *arena_bytes = f->levels[level].arena_bytes;
    return f->levels[level].block_seconds;
}

/* Compute seconds before each run of a listed generation, [run_count + 1]. */
static void fill_prefix(const pager *g, const bl_problem_generation *x, double *prefix) {
    double sum = 0;
    for (int i = x->first_phase, run = 0; i < x->first_phase + x->phase_count; i++) {
        const bl_problem_phase *f = &g->p->phases[i];
        uint64_t arena_bytes;
        const double *seconds = block_seconds(g, i, &arena_bytes);
        int blocks = g->p->modules[f->module].block_count;
        for (int k = 0; k < f->passes * blocks; k++) {
            prefix[run++] = sum;
            sum += seconds[k % blocks];
        }
        prefix[run] = sum;
    }
}

/* Another generation that is taken to follow those so far. */
static void add_generation(pager *g, int number, const double *prefix, double *base) {
    const bl_problem_generation *x = &g->p->generations[number];
    for (int i = x->first_phase; i < x->first_phase + x->phase_count; i++) {
        ahead_phase *a = &g->ahead[g->ahead_count++];
        *a = (ahead_phase){.phase = i,
                           .shift = g->last_run,
                           .first_run = g->last_run + g->p->phases[i].first_run,
                           .base = *base,
                           .prefix = prefix};
        block_seconds(g, i, &a->arena_bytes);
    }
    g->last_run += x->run_count;
    *base += prefix[x->run_count];
}

/* What may come but is not taken to: its modules' places are worth something all the same. */
static void add_chance(pager *g, int number, double likelihood, const double *prefix, double base) {
    const bl_problem_generation *x = &g->p->generations[number];
    bool seen[BL_PROBLEM_MODULES] = {false};
    for (int i = x->first_phase; i < x->first_phase + x->phase_count; i++) {
        const bl_problem_phase *f = &g->p->phases[i];
        chance *m = &g->chances[f->module];
        if (!seen[f->module]) {
            double seconds = base + prefix[f->first_run];
            m->seconds = m->likelihood > 0 && m->seconds < seconds ? m->seconds : seconds;
            m->likelihood += likelihood;
            seen[f->module] = true;
        }
    }
}

/* The next phase with each module, and the largest arena on the way to each phase. */
static void fill_ahead(pager *g) {
    int modules = g->p->module_count, count = g->ahead_count;
    for (int i = 0; i < g->p->phase_count; i++) {
        for (int m = 0; m < modules; m++) {
            int next = -1;
            for (int j = i + 1; j < count && next < 0; j++) {
                next = phase_ahead(g, j)->module == m ? j : -1;
            }
            g->next_phase[i * modules + m] = next;
        }
        uint64_t largest = 0;
        for (int j = i; j < count; j++) {
            largest = g->ahead[j].arena_bytes > largest ? g->ahead[j].arena_bytes : largest;
            g->arena_to[i * count + j] = largest;
        }
    }
}

int bl_pager_look(pager *g, bl_error *err) {
    const bl_problem *p = g->p;
    size_t runs = 0, phases = (size_t)p->phase_count;
    const double *prefix[BL_PROBLEM_GENERATIONS];
    int certain = bl_problem_certain(p), taken = certain + g->o->unsure;
    for (int i = 0; i < p->generation_count; i++) {
        runs += (size_t)p->generations[i].run_count + 1;
    }
    for (int i = 0; i < p->follower_count; i++) {
        phases += (size_t)p->generations[p->followers[i].generation].phase_count;
    }
    g->seconds = malloc(runs * sizeof *g->seconds);
    g->ahead = malloc(phases * sizeof *g->ahead);
    g->next_phase = malloc((size_t)p->phase_count * (size_t)p->module_count * sizeof *g->next_phase);
    g->arena_to = malloc((size_t)p->phase_count * phases * sizeof *g->arena_to);
    if (!g->seconds || !g->ahead || !g->next_phase || !g->arena_to) {
        return bl_fail_memory(err, "the planner's tables", runs * sizeof *g->seconds);
    }
    double *at = g->seconds, base = 0;
    for (int i = 0; i < p->generation_count; i++) {
        fill_prefix(g, &p->generations[i], at);
        prefix[i] = at;
        at += p->generations[i].run_count + 1;
    }
    g->prefix = g->seconds;
    add_generation(g, 0, prefix[0], &base);
    for (int i = 0; i < certain; i++) {
        add_generation(g, p->followers[i].generation, prefix[p->followers[i].generation], &base);
    }
    double then = base;
    for (int i = certain; i < p->follower_count; i++) {
        int number = p->followers[i].generation;
        if (i == taken) {
            add_generation(g, number, prefix[number], &base);
        } else {
            add_chance(g, number, p->followers[i].likelihood, prefix[number], then);
        }
    }
    fill_ahead(g);
    return 0;
}
