/* One generation on the engine: declared phases become the planner's problem, the plan is walked pass by
 * pass. */
#include "pipeline/engine_parts.h"

#include "core/clock.h"
#include "residency/run/start.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUESSED_COPY_RATE 2e9 /* bytes a second, until it has been measured */
#define MOST_PORTS 64         /* a graph with every tap has the most */

void bl_engine_begin(bl_engine *e) {
    bl_engine_end(e, false, NULL);
    e->declared_count = 0;
    e->began = bl_now();
}

int bl_engine_phase(bl_engine *e, const char *name, const char *stage, bl_module module, bl_shape_key key,
                    int passes, bl_error *err) {
    if (e->declared_count == BL_PROBLEM_PHASES) {
        return bl_fail(err, BL_E_ARGUMENT, "more than %d phases in one generation; take a smaller batch",
                       BL_PROBLEM_PHASES);
    }
    if (module == BL_TEXT_ENCODER) {
        int result = bl_engine_open_modules(e, key.clip_skip, err);
        if (result) {
            return result;
        }
    }
    if (!e->modules[module].device) {
        return bl_fail(err, BL_E_UNSUPPORTED, "%s: this checkpoint has none", bl_module_name(module));
    }
    bl_declared *d = &e->declared[e->declared_count];
    snprintf(d->name, sizeof d->name, "%s", name);
    snprintf(d->stage, sizeof d->stage, "%s", stage);
    d->module = module;
    d->passes = passes;
    int result = bl_engine_prepare(&d->prepared, e, module, key, err);
    return result ? result : e->declared_count++;
}

/* Multiplications and additions a second that a first guess takes the CPU for, until it has been measured. */
static double guess_rate(const bl_engine *e, bl_module module) {
    const bl_graph *g = e->modules[module].reference;
    return g->dtype == BL_BF16 ? 2e11 : 1e11;
}

static int add_modules(bl_engine *e, bl_problem *p, bl_error *err) {
    int result = 0;
    for (int i = 0; i < e->listed_count && !result; i++) {
        const bl_engine_module *m = &e->modules[e->listed[i]];
        int count = m->reference->block_count, number;
        const bl_block_cost *costs = e->ops->module_costs(m->device);
        bl_problem_block *blocks = calloc((size_t)count, sizeof *blocks);
        if (!blocks) {
            return bl_fail_memory(err, "the plan", (unsigned long long)count * sizeof *blocks);
        }
        for (int b = 0; b < count; b++) {
            snprintf(blocks[b].name, sizeof blocks[b].name, "%.63s", m->reference->blocks[b].name);
            blocks[b].bytes = costs[b].packed_bytes;
            blocks[b].source_bytes = costs[b].source_bytes;
            blocks[b].copy_seconds = -1;
            blocks[b].resident_at = BL_NOWHERE;
        }
        result = bl_problem_add_module(&number, p, bl_module_name(e->listed[i]),
                                       bl_dtype_name(m->reference->dtype), blocks, count, err);
        free(blocks);
    }
    return result;
}

/* One level of a declared phase; level 0 makes the phase. */
static int add_level(bl_engine *e, bl_problem *p, int phase, int level, bl_error *err) {
    const bl_declared *d = &e->declared[phase];
    const bl_exec_info *info = &d->prepared->info[level];
    double *seconds = calloc((size_t)info->block_count, sizeof *seconds);
    if (!seconds) {
        return bl_fail_memory(err, "the plan", (unsigned long long)info->block_count * sizeof *seconds);
    }
    for (int b = 0; b < info->block_count; b++) {
        seconds[b] = info->block_seconds ? info->block_seconds[b]
                                         : info->block_flops[b] / guess_rate(e, d->module) + 1e-6;
    }
    int result = level ? bl_problem_add_level(p, phase, info->arena_bytes, seconds, err)
                       : bl_problem_add_phase(&phase, p, d->name, d->stage, e->number[d->module], d->passes,
                                              info->arena_bytes, seconds, err);
    free(seconds);
    return result;
}

static int add_phases(bl_engine *e, bl_problem *p, bl_error *err) {
    int result = 0;
    for (int i = 0; i < e->declared_count; i++) {
        for (int l = 0; l < e->declared[i].prepared->level_count && !result; l++) {
            result = add_level(e, p, i, l, err);
        }
    }
    return result;
}

/* What the user allows, or what is free: what our own region holds is ours to use again. */
static int choose_budget(bl_problem *p, const bl_placement *placement, uint64_t free_bytes, bl_error *err) {
    uint64_t all = free_bytes + p->open_bytes;
    if (placement->reserve_bytes && placement->reserve_bytes >= all) {
        return bl_fail(err, BL_E_BUDGET,
                       "reserve: of the %.2f GB that are free nothing is left after %.2f GB",
                       (double)all / 1e9, (double)placement->reserve_bytes / 1e9);
    }
    p->budget_bytes = placement->budget_bytes ? placement->budget_bytes : all - placement->reserve_bytes;
    return 0;
}

static int make_problem(bl_engine *e, const bl_placement *placement, bl_error *err) {
    bl_problem_free(&e->problem);
    int result = bl_problem_new(&e->problem, err);
    if (!result) {
        result = add_modules(e, e->problem, err);
    }
    if (!result) {
        result = add_phases(e, e->problem, err);
    }
    if (result) {
        return result;
    }
    bl_problem *p = e->problem;
    e->ops->caps(e->o.device, &e->caps);
    bl_executor_resident(e->executor, p);
    p->memory_bytes = e->caps.memory_bytes;
    result = choose_budget(p, placement, e->caps.free_bytes, err);
    if (result) {
        return result;
    }
    p->copy_rate = e->caps.copy_rate > 0 ? e->caps.copy_rate : GUESSED_COPY_RATE;
    p->copy_latency = e->caps.copy_latency;
    p->async_copy = e->caps.async_copy;
    p->cyclic = placement->repeats;
    return bl_problem_finish(p, err);
}

/* Everything that a measurement of a phase depends on, besides model and type: "2x64x64x77". */
static void name_shapes(bl_engine *e) {
    for (int i = 0; i < e->declared_count; i++) {
        const bl_shape_key *k = &e->declared[i].prepared->key;
        snprintf(e->shape_text[i], sizeof e->shape_text[i], "%dx%dx%dx%dx%d", k->batch, k->height, k->width,
                 k->tokens, k->clip_skip);
        e->shape_names[i] = e->shape_text[i];
    }
}

bl_calibration_key bl_engine_key(const bl_engine *e) {
    return (bl_calibration_key){.device = e->caps.name,
                                .model = e->model_key,
                                .dtype = bl_dtype_name(e->o.dtype),
                                .shapes = e->shape_names};
}

/* Hands the planner's choice of graphs to the executor. */
static int prepare_phases(void *payload, bl_executable *const **out, const bl_plan *plan, bl_error *err) {
    bl_engine *e = payload;
    (void)err;
    for (int i = 0; i < e->declared_count; i++) {
        e->executables[i] = e->declared[i].prepared->executable[plan->phases[i].level];
    }
    *out = e->executables;
    return 0;
}

int bl_engine_problem(bl_engine *e, const bl_placement *placement, bl_error *err) {
    e->settings = placement->offload;
    e->settings.model_type = bl_family_type(e->o.arch->family);
    int result = make_problem(e, placement, err);
    if (!result) {
        name_shapes(e);
        bl_calibration_key key = bl_engine_key(e);
        result = bl_calibration_apply(e->calibration, &key, e->problem, &e->phases_known, err);
    }
    return result;
}

int bl_engine_budget(bl_engine *e, const bl_placement *placement, uint64_t *least, uint64_t *budget,
                     bl_error *err) {
    int result = bl_engine_problem(e, placement, err);
    if (!result) {
        *least = bl_problem_min_budget(e->problem);
        *budget = e->problem->budget_bytes;
    }
    return result;
}

/* Says in one line that phases run with a smaller arena, and why; once for generations that follow each
 * other. */
static void tell_levels(bl_engine *e) {
    const bl_plan *plan = e->plan;
    int count = 0, worst = 0;
    for (int i = 0; i < plan->phase_count; i++) {
        if (plan->phases[i].level) {
            worst = !count || plan->phases[i].arena_bytes > plan->phases[worst].arena_bytes ? i : worst;
            count++;
        }
    }
    uint64_t arena = count ? plan->phases[worst].arena_bytes : 0;
    if (count && arena != e->told_arena) {
        char more[64] = "";
        if (count > 1) {
            snprintf(more, sizeof more, ", and %d more phases likewise", count - 1);
        }
        bl_log_line(
            e->o.log, BL_LOG_INFO,
            "Phase %s works in %.2f GB instead of %.2f GB, a little slower, for the same picture%s: the "
            "budget of %.2f GB has no room for more",
            e->problem->phases[worst].name, (double)arena / 1e9,
            (double)e->problem->phases[worst].levels[0].arena_bytes / 1e9, more,
            (double)e->problem->budget_bytes / 1e9);
    }
    e->told_arena = arena;
}

int bl_engine_plan(bl_engine *e, const bl_placement *placement, bl_engine_poll *poll, void *payload,
                   bl_error *err) {
    e->poll = poll;
    e->payload = payload;
    int result = bl_engine_problem(e, placement, err);
    if (!result) {
        bl_plan_free(&e->plan);
        result = bl_start(&e->plan, e->executor, e->problem, &e->settings, prepare_phases, e, &e->ledger,
                          e->o.log, err);
        e->running = !result;
    }
    if (!result) {
        tell_levels(e);
    }
    return result;
}

/* Finds the caller's buffer for each of the graph's ports. */
static int bind(void **bound, const bl_graph *g, bl_place place, int count, const bl_port *given,
                bl_error *err) {
    for (int i = 0; i < count; i++) {
        const bl_tensor *t = bl_graph_port(g, place, i);
        bound[i] = NULL;
        for (int k = 0; given[k].name || given[k].data; k++) {
            if (given[k].name && !strcmp(given[k].name, t->name)) {
                bound[i] = given[k].data;
            }
        }
        if (!bound[i]) {
            return bl_fail(err, BL_E_INTERNAL, "%s: nothing is bound to \"%s\"", bl_module_name(g->module),
                           t->name);
        }
    }
    return 0;
}

int bl_engine_pass(bl_engine *e, int phase, const bl_port *inputs, const bl_port *outputs, bl_error *err) {
    const bl_graph *g = e->declared[phase].prepared->graph;
    void *in[MOST_PORTS], *out[MOST_PORTS];
    int result = 0;
    if (g->input_count > MOST_PORTS || g->output_count > MOST_PORTS) {
        return bl_fail(err, BL_E_INTERNAL, "%s: too many inputs or outputs", bl_module_name(g->module));
    }
    if (phase != e->current) {
        if (e->current >= 0) {
            result = bl_executor_phase_end(e->executor, err);
        }
        e->current = phase;
        if (!result) {
            result = bl_executor_phase_begin(e->executor, phase, err);
        }
    }
    if (!result) {
        result = bind(in, g, BL_INPUT, g->input_count, inputs, err);
    }
    if (!result) {
        result = bind(out, g, BL_OUTPUT, g->output_count, outputs, err);
    }
    return result ? result : bl_executor_pass(e->executor, (const void *const *)in, out, err);
}

double bl_engine_now(const bl_engine *e) {
    return e->ops->now(e->o.device);
}

void bl_engine_host(bl_engine *e, const char *stage, double began) {
    bl_ledger_add_host(&e->ledger, stage, began, bl_engine_now(e) - began, NULL);
}

int bl_engine_end(bl_engine *e, bool finished, bl_error *err) {
    int result = 0;
    if (e->running) {
        bl_error own = {0};
        if (finished && e->current >= 0) {
            result = bl_executor_phase_end(e->executor, err);
        }
        int rc = bl_executor_finish(e->executor, &own); /* after a failure its own message says more */
        result = result || !finished ? result : rc ? bl_fail(err, rc, "%s", own.message) : 0;
        e->running = false;
        e->ended = bl_now();
        if (finished && !result) {
            bl_calibration_key key = bl_engine_key(e);
            bl_calibration_learn(e->calibration, &key, e->problem, e->plan, &e->ledger, &own);
        }
    }
    e->current = -1;
    return result;
}
