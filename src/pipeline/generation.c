/* A generation declared, started, run and ended. */
#include "pipeline/generation_parts.h"

#include "core/clock.h"
#include "core/size_text.h"
#include "pipeline/tuned.h"
#include "residency/plan/planner.h"
#include "residency/run/start.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_PORTS 64 /* a graph with every tap has the most */

int bl_generation_new(bl_generation **out, bl_modules *modules, bl_error *err) {
    bl_generation *g = calloc(1, sizeof *g);
    *out = NULL;
    if (!g) {
        return bl_fail_memory(err, "a generation", sizeof *g);
    }
    g->modules = modules;
    g->memory = bl_modules_given(modules)->memory;
    g->current = -1;
    g->began = bl_now();
    bl_ledger_init(&g->ledger);
    *out = g;
    return 0;
}

void bl_generation_free(bl_generation **gp) {
    bl_generation *g = *gp;
    if (g) {
        bl_generation_end(g, false, NULL);
        for (int i = 0; i < g->declared_count; i++) {
            bl_modules_give(g->modules, g->declared[i].prepared);
        }
        bl_plan_free(&g->plan);
        bl_problem_free(&g->problem);
        bl_ledger_free(&g->ledger);
        free(g);
        *gp = NULL;
    }
}

const bl_checkpoint *bl_generation_checkpoint(const bl_generation *g) {
    return bl_modules_given(g->modules)->ckpt;
}

const bl_log *bl_generation_log(const bl_generation *g) {
    return bl_modules_given(g->modules)->log;
}

bl_dtype bl_generation_dtype(const bl_generation *g, bl_module module) {
    return bl_modules_dtype(g->modules, module);
}

int bl_generation_phase_tuned(bl_generation *g, const bl_phase_of *p, bl_error *err) {
    if (g->declared_count == BL_PROBLEM_PHASES) {
        return bl_fail(err, BL_E_ARGUMENT, "more than %d phases in one generation; take a smaller batch",
                       BL_PROBLEM_PHASES);
    }
    bl_declared *d = &g->declared[g->declared_count];
    int result = bl_modules_take(&d->prepared, g->modules, p->module, p->key, &p->tuning, err);
    if (result) {
        return result;
    }
    char chosen[BL_TUNING_TEXT];
    snprintf(d->name, sizeof d->name, "%s", p->name);
    snprintf(d->stage, sizeof d->stage, "%s", p->stage);
    bl_shape_text(d->shape, sizeof d->shape, p->key);
    bl_tuning_text(chosen, &p->tuning);
    size_t n = strlen(d->shape);
    snprintf(d->shape + n, sizeof d->shape - n, "%s%s", chosen[0] ? " " : "", chosen);
    d->module = p->module;
    d->passes = p->passes;
    return g->declared_count++;
}

int bl_generation_phase(bl_generation *g, const char *name, const char *stage, bl_module module,
                        bl_shape_key key, int passes, bl_error *err) {
    bl_phase_of p = {.name = name, .stage = stage, .module = module, .key = key, .passes = passes};
    bool without = false;
    if (!g->untuned) {
        bl_tuned_choices(&p.tuning, passes > 1 && !g->measured ? &without : NULL, g->modules, module, key);
    }
    int phase = bl_generation_phase_tuned(g, &p, err);
    if (phase >= 0) {
        g->declared[phase].tuned = !bl_tuning_same(&p.tuning, &(bl_tuning){0});
        g->declared[phase].without = without;
    }
    return phase;
}

void bl_generation_untuned(bl_generation *g) {
    g->untuned = true;
}

void bl_generation_measured(bl_generation *g) {
    g->measured = true;
}

bool bl_generation_is_tuned(const bl_generation *g) {
    bool tuned = false;
    for (int i = 0; i < g->declared_count; i++) {
        tuned = tuned || g->declared[i].tuned;
    }
    return tuned;
}

bool bl_generation_phase_at(bl_phase_of *out, const bl_generation *g, int phase) {
    if (phase < 0 || phase >= g->declared_count) {
        return false;
    }
    const bl_declared *d = &g->declared[phase];
    *out = (bl_phase_of){d->name,    d->stage, d->module, d->prepared->key, d->passes, d->prepared->tuning,
                         d->prepared};
    return true;
}

double bl_generation_pass_seconds(const bl_generation *g, int phase) {
    const bl_problem_phase *p = &g->problem->phases[phase];
    const int blocks = g->problem->modules[p->module].block_count, several = p->passes > 1;
    double seconds = 0;
    for (int i = 0; i < g->ledger.count; i++) {
        const bl_ledger_entry *e = &g->ledger.entries[i];
        if (e->phase == phase && e->work == BL_WORK_COMPUTE && e->run - p->first_run >= several * blocks) {
            seconds += e->seconds;
        }
    }
    return seconds / (p->passes - several);
}

uint64_t bl_generation_kept(const bl_generation *g, int phase) {
    return g->declared[phase].prepared->graph->kept_bytes;
}

void bl_generation_adapt(bl_generation *g, bl_changes changes) {
    g->changes = changes;
}

void bl_generation_follow(bl_generation *g, const bl_generation *next, double likelihood) {
    if (g->follower_count < BL_PROBLEM_FOLLOWERS) {
        g->followers[g->follower_count] = next;
        g->likelihoods[g->follower_count++] = likelihood;
    }
}

/* Hands the planner's choice of graphs to the executor. */
static int prepare_phases(void *payload, bl_executable *const **out, const bl_plan *plan, bl_error *err) {
    bl_generation *g = payload;
    (void)err;
    for (int i = 0; i < g->declared_count; i++) {
        g->executables[i] = g->declared[i].prepared->executable[plan->phases[i].level];
    }
    *out = g->executables;
    return 0;
}

/* Says in one line that phases run with a smaller arena, and why; once for generations that follow each
 * other. */
static void tell_levels(bl_generation *g) {
    const bl_plan *plan = g->plan;
    int count = 0, worst = 0;
    for (int i = 0; i < plan->phase_count; i++) {
        if (plan->phases[i].level) {
            worst = !count || plan->phases[i].arena_bytes > plan->phases[worst].arena_bytes ? i : worst;
            count++;
        }
    }
    uint64_t arena = count ? plan->phases[worst].arena_bytes : 0;
    if (bl_modules_news(g->modules, arena) && count) {
        char more[64] = "";
        if (count > 1) {
            snprintf(more, sizeof more, ", and %d more phases likewise", count - 1);
        }
        bl_log_line(bl_generation_log(g), BL_LOG_INFO,
                    "Phase %s works in %s instead of %s, a little slower, for the same picture%s: the "
                    "budget of %s has no room for more",
                    g->problem->phases[worst].name, bl_size_of(arena).text,
                    bl_size_of(g->problem->phases[worst].levels[0].arena_bytes).text, more,
                    bl_size_of(g->problem->budget_bytes).text);
    }
}

int bl_generation_start(bl_generation *g, const bl_placement *placement, bl_generation_poll *poll,
                        void *payload, bl_error *err) {
    bl_executor *executor = bl_memory_executor(g->memory);
    int result = bl_generation_problem(g, placement, err);
    result = result ? result : bl_modules_adapt(g->modules, &g->changes, err);
    if (!result) {
        g->merged_before = bl_modules_merge_seconds(g->modules);
        bl_plan_free(&g->plan);
        bl_executor_watch(executor, poll, payload);
        result = bl_start(&g->plan, executor, g->problem, &g->settings, prepare_phases, g, &g->ledger,
                          bl_generation_log(g), err);
        g->running = !result;
    }
    if (result == BL_E_BUDGET && !g->all_levels) { /* the device had less than the budget that was there */
        g->all_levels = true;
        return bl_generation_start(g, placement, poll, payload, err);
    }
    if (!result && g->least && g->least < g->plan->min_budget_bytes) {
        g->plan->min_budget_bytes = g->least;
    }
    if (!result) {
        tell_levels(g);
        bl_tuned_tell(g);
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

/* Goes on to the phase, if it is another one than before. */
static int enter(bl_generation *g, int phase, bl_error *err) {
    bl_executor *executor = bl_memory_executor(g->memory);
    int result = 0;
    if (phase != g->current) {
        if (g->current >= 0) {
            result = bl_executor_phase_end(executor, err);
        }
        g->current = phase;
        if (!result) {
            result = bl_executor_phase_begin(executor, phase, err);
        }
    }
    return result;
}

int bl_generation_pass(bl_generation *g, int phase, const bl_port *inputs, const bl_port *outputs,
                       bl_error *err) {
    const bl_graph *graph = g->declared[phase].prepared->graph;
    void *in[MOST_PORTS], *out[MOST_PORTS];
    if (graph->input_count > MOST_PORTS || graph->output_count > MOST_PORTS) {
        return bl_fail(err, BL_E_INTERNAL, "%s: too many inputs or outputs", bl_module_name(graph->module));
    }
    int result = enter(g, phase, err);
    if (!result) {
        result = bind(in, graph, BL_INPUT, graph->input_count, inputs, err);
    }
    if (!result) {
        result = bind(out, graph, BL_OUTPUT, graph->output_count, outputs, err);
    }
    return result ? result
                  : bl_executor_pass(bl_memory_executor(g->memory), (const void *const *)in, out, err);
}

int bl_generation_cut(bl_generation *g, int phase, bl_error *err) {
    int result = enter(g, phase, err);
    return result ? result : bl_executor_phase_cut(bl_memory_executor(g->memory), &g->left_out, err);
}

double bl_generation_now(const bl_generation *g) {
    return bl_device_now(bl_memory_device(g->memory));
}

void bl_generation_host(bl_generation *g, const char *stage, double began) {
    bl_ledger_add_host(&g->ledger, stage, began, bl_generation_now(g) - began, NULL);
}

void bl_generation_name(bl_generation *g, const char *stage) {
    bl_ledger_name(&g->ledger, stage);
}

int bl_generation_end(bl_generation *g, bool finished, bl_error *err) {
    bl_executor *executor = bl_memory_executor(g->memory);
    int result = 0;
    if (g->running) {
        bl_error own = {0};
        if (finished && g->current >= 0) {
            result = bl_executor_phase_end(executor, err);
        }
        int rc = bl_executor_finish(executor, &own); /* after a failure its own message says more */
        result = result || !finished ? result : rc ? bl_fail(err, rc, "%s", own.message) : 0;
        bl_executor_watch(executor, NULL, NULL);
        double merged = bl_modules_merge_seconds(g->modules) - g->merged_before;
        if (merged > 0) {
            bl_ledger_split(&g->ledger, g->problem->has_store ? "load" : "onload", "merge", merged);
        }
        g->running = false;
        g->ended = bl_now();
        if (finished && !result && !g->left_out) { /* first passes alone would be no measure */
            bl_calibration_key key = bl_generation_key(g);
            bl_calibration_learn(bl_memory_calibration(g->memory), &key, g->problem, g->plan, &g->ledger,
                                 &own);
            if (!g->measured) {
                bl_tuned_judge(g);
            }
        }
    }
    g->current = -1;
    return result;
}
