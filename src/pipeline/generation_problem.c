/* The planner's problem of a generation's phases, and what can be told of it before anything runs. */
#include "pipeline/generation_parts.h"

#include "core/size_text.h"
#include "residency/plan/planner.h"
#include "residency/problem/follow.h"

#include <math.h>
#include <stdlib.h>

/* What the heap, the kernels' own buffers, the planner and reports grow by after a plan was made, rounded up.
 */
#define PROCESS_BYTES (16u << 20)

/* Adds the module, once. */
static void list(bl_generation *g, const bl_opened *x) {
    int n = 0;
    while (n < g->listed_count && g->listed[n] != x) {
        n++;
    }
    if (n == g->listed_count) {
        g->listed[g->listed_count++] = x;
    }
}

/* Which of the model's modules a plan takes in: those of the phases, as they have them, and of those that no
 * phase has the first that was opened. */
static int list_modules(bl_generation *g, int *ids) {
    const bl_opened *x;
    g->listed_count = 0;
    for (int k = 0; k < BL_MODULE_COUNT; k++) {
        int before = g->listed_count;
        for (int i = 0; i < g->declared_count; i++) {
            x = g->declared[i].prepared->opened;
            if (x->module == (bl_module)k) {
                list(g, x);
            }
        }
        for (int i = 0; g->listed_count == before && (x = bl_modules_at(g->modules, i)) != NULL; i++) {
            if (x->module == (bl_module)k) {
                list(g, x);
            }
        }
    }
    for (int i = 0; i < g->listed_count; i++) {
        ids[i] = g->listed[i]->id;
    }
    return g->listed_count;
}

/* Adds the modules that a follower's phases run; the count then. */
static int list_followers_modules(const bl_generation *next, int *ids, int count) {
    for (int i = 0; i < next->declared_count; i++) {
        int id = next->declared[i].prepared->opened->id, k = 0;
        while (k < count && ids[k] != id) {
            k++;
        }
        if (k == count && count < BL_PROBLEM_MODULES) {
            ids[count++] = id;
        }
    }
    return count;
}

/* Number of a module in the problem; -1: it is not there. */
static int number_of(const bl_problem *p, const bl_opened *opened) {
    int n = p->module_count - 1;
    while (n >= 0 && p->modules[n].id != opened->id) {
        n--;
    }
    return n;
}

/* Multiplications and additions a second that a first guess takes the CPU for, until it has been measured. */
static double guess_rate(const bl_graph *g) {
    return g->dtype == BL_BF16 ? 2e11 : 1e11;
}

#define GUESSED_WIDEN_RATE 1e9 /* values a second, until it has been measured */

/* The device's own guess, which its guess at the block's seconds has in it. */
static double guessed_widening(const bl_exec_info *info, int block) {
    return info->block_widen_seconds ? info->block_widen_seconds[block] : 0;
}

/* Of a pass through a block whose weights stay small. `rate`: values a second as measured; 0: not yet. */
static double widen_seconds(const bl_exec_info *info, int block, double rate) {
    return !info->block_widened        ? 0
           : rate > 0                  ? info->block_widened[block] / rate
           : info->block_widen_seconds ? guessed_widening(info, block)
                                       : info->block_widened[block] / GUESSED_WIDEN_RATE;
}

/* Seconds of a block without widening, for each that it would take at the rate of the first guess: as passes
 * in other shapes say. *work: of all blocks. */
static double guess_scale(double *work, const bl_generation *g, const bl_calibration_key *key,
                          const bl_declared *d, const bl_exec_info *info) {
    const bl_problem_module *m = &g->problem->modules[number_of(g->problem, d->prepared->opened)];
    double seconds;
    *work = 0;
    for (int b = 0; b < info->block_count && !info->block_seconds; b++) {
        *work += info->block_flops[b];
    }
    return *work > 0 && bl_calibration_pass(&seconds, bl_memory_calibration(g->memory), key, m->name,
                                            m->dtype, *work)
               ? seconds / (*work / guess_rate(d->prepared->graph))
               : 1;
}

/* One level of a declared phase; level 0 makes the phase. */
static int add_level(bl_generation *g, const bl_modules *modules, const bl_calibration_key *key,
                     const bl_declared *d, int level, double widen_rate, bl_error *err) {
    const bl_exec_info *info = &d->prepared->info[level];
    bl_problem *p = g->problem;
    double work, scale = guess_scale(&work, g, key, d, info);
    const bl_problem_block *blocks = p->modules[number_of(p, d->prepared->opened)].blocks;
    double widening = 0;
    double *seconds = calloc((size_t)info->block_count, sizeof *seconds);
    int phase = p->listed_phases - 1;
    if (!seconds) {
        return bl_fail_memory(err, "the plan", (unsigned long long)info->block_count * sizeof *seconds);
    }
    for (int b = 0; b < info->block_count; b++) {
        double widen = widen_seconds(info, b, widen_rate);
        bool wide = blocks[b].bytes != bl_opened_bytes(modules, d->prepared->opened, b, false);
        seconds[b] = info->block_seconds
                         ? info->block_seconds[b] - guessed_widening(info, b)
                         : scale * info->block_flops[b] / guess_rate(d->prepared->graph) + 1e-6;
        seconds[b] += wide ? 0 : widen;
        widening += wide ? 0 : widen;
    }
    int result = level ? bl_problem_add_level(p, phase, info->arena_bytes, seconds, err)
                       : bl_problem_add_phase(&phase, p, d->name, d->stage, number_of(p, d->prepared->opened),
                                              d->passes, info->arena_bytes, seconds, err);
    free(seconds);
    if (!result) {
        p->phases[phase].levels[level].widen_seconds = widening;
        p->phases[phase].levels[level].work = work;
    }
    return result;
}

/* The phases that `of` has declared, which is this generation or one that follows. */
static int add_phases(bl_generation *g, const bl_generation *of, bl_error *err) {
    int result = 0;
    bl_calibration_key key = bl_generation_key(of);
    double rate = bl_calibration_widen_rate(bl_memory_calibration(g->memory), &key);
    for (int i = 0; i < of->declared_count && !result; i++) {
        const bl_declared *d = &of->declared[i];
        for (int l = 0; l < d->prepared->level_count && !result; l++) {
            result = add_level(g, of->modules, &key, d, l, rate, err);
        }
        if (!result) {
            g->shapes[g->problem->listed_phases - 1] = d->shape;
            g->models[g->problem->listed_phases - 1] = bl_modules_key(of->modules);
        }
    }
    return result;
}

/* Whether all that a follower runs is in the problem, and its phases have room there. */
static bool has_room(const bl_problem *p, const bl_generation *this, const bl_generation *next) {
    bool room = p->follower_count < BL_PROBLEM_FOLLOWERS &&
                (next == this || (p->generation_count < BL_PROBLEM_GENERATIONS &&
                                  p->listed_phases + next->declared_count <= BL_PROBLEM_PHASES));
    for (int i = 0; i < next->declared_count; i++) {
        room = room && number_of(p, next->declared[i].prepared->opened) >= 0;
    }
    return room;
}

static int add_followers(bl_generation *g, bl_error *err) {
    int result = 0;
    for (int i = 0; i < g->follower_count && !result && has_room(g->problem, g, g->followers[i]); i++) {
        bool again = g->followers[i] == g;
        result = again ? 0 : bl_problem_add_generation(g->problem, err);
        if (!result && !again) {
            result = add_phases(g, g->followers[i], err);
        }
        if (!result) {
            int number = again ? 0 : g->problem->generation_count - 1;
            result = bl_problem_add_follower(g->problem, number, g->likelihoods[i], err);
        }
    }
    return result;
}

/* What the process will take and has not taken yet, regions not counted, where that is the same memory. With
 * a region open there was a generation before, which has paid for what lasts. */
static uint64_t beside_region(const bl_device_caps *caps, const bl_problem *p,
                              const bl_placement *placement) {
    uint64_t lasting = caps->working_bytes + (p->open_bytes ? 0 : PROCESS_BYTES);
    return caps->host_memory ? lasting + placement->host_bytes : 0;
}

/* What the user allows, or what is free: what the open region holds is ours to use again. */
static int choose_budget(bl_problem *p, const bl_placement *placement, uint64_t free_bytes, bl_error *err) {
    uint64_t all = free_bytes + p->open_bytes;
    if (!placement->budget_bytes && p->process_bytes >= all) {
        return bl_fail(err, BL_E_BUDGET,
                       "memory is short: %s are free, and pictures, latents and what else the process takes "
                       "beside weights and activations need %s of them",
                       bl_size_of(all).text, bl_size_of(p->process_bytes).text);
    }
    all -= placement->budget_bytes ? 0 : p->process_bytes;
    if (placement->reserve_bytes && placement->reserve_bytes >= all) {
        return bl_fail(err, BL_E_BUDGET, "reserve: of the %s that are free nothing is left after %s",
                       bl_size_of(all).text, bl_size_of(placement->reserve_bytes).text);
    }
    p->reserved_bytes = placement->reserved_bytes;
    p->budget_bytes = placement->budget_bytes ? placement->budget_bytes : all - placement->reserve_bytes;
    if (placement->store_bytes && placement->store_bytes < p->host_bytes) {
        p->host_bytes = placement->store_bytes;
    }
    return 0;
}

/* Prepares further arena levels where the first, beside all weights, is more than the budget: elsewhere
 * nobody will ask for them. */
static int prepare_levels(bl_generation *g, bl_error *err) {
    uint64_t weights = 0;
    int result = 0;
    for (int m = 0; m < g->problem->module_count; m++) {
        for (int b = 0; b < g->problem->modules[m].block_count; b++) {
            weights += g->problem->modules[m].blocks[b].bytes;
        }
    }
    uint64_t room = g->problem->budget_bytes > weights ? g->problem->budget_bytes - weights : 0;
    for (int i = 0; i <= g->follower_count && !result; i++) {
        const bl_generation *of = i ? g->followers[i - 1] : g;
        for (int k = 0; k < of->declared_count && !result; k++) {
            bl_prepared *p = of->declared[k].prepared;
            if (g->all_levels || p->info[0].arena_bytes > room) {
                result = bl_modules_prepare_levels(of->modules, p, err);
            }
        }
    }
    return result;
}

bl_calibration_key bl_generation_key(const bl_generation *g) {
    return (bl_calibration_key){.device = g->caps.name,
                                .dtype = bl_modules_dtype_text(g->modules),
                                .models = g->models,
                                .shapes = g->shapes};
}

/* What adapters make of one module: blocks that were packed with others are nowhere, packing takes longer,
 * and what they change is wide. */
static int adapt_module(bl_problem *p, bl_problem_module *m, const bl_opened *x, const bl_generation *g,
                        bl_error *err) {
    bl_merge_cost *costs = calloc((size_t)m->block_count + 1, sizeof *costs);
    int result = costs ? bl_merge_look(costs, x->merge, &g->changes, err)
                       : bl_fail_memory(err, "the plan", (unsigned long long)m->block_count * sizeof *costs);
    for (int b = 0; b < m->block_count && !result; b++) {
        bl_problem_block *k = &m->blocks[b];
        k->merge_seconds = costs[b].flops / bl_modules_merge_rate(g->modules);
        k->bytes = bl_opened_bytes(g->modules, x, b, costs[b].widens);
        p->adapter_bytes += costs[b].bytes;
        if (costs[b].differs) {
            k->resident_at = k->stored_at = BL_NOWHERE;
            k->came = false;
        }
    }
    free(costs);
    return result;
}

/* All of the model's modules in the problem: also those that others' phases run. */
static int adapt_problem(bl_generation *g, bl_error *err) {
    const bl_opened *x;
    int result = 0;
    for (int i = 0; (x = bl_modules_at(g->modules, i)) != NULL && !result; i++) {
        int number = number_of(g->problem, x);
        result = number < 0 ? 0 : adapt_module(g->problem, &g->problem->modules[number], x, g, err);
    }
    return result;
}

int bl_generation_problem(bl_generation *g, const bl_placement *placement, bl_error *err) {
    int ids[BL_PROBLEM_MODULES], count = list_modules(g, ids);
    for (int i = 0; i < g->follower_count; i++) {
        count = list_followers_modules(g->followers[i], ids, count);
    }
    g->settings = placement->offload;
    g->settings.model_type = bl_modules_given(g->modules)->arch->family->type;
    bl_problem_free(&g->problem);
    int result = bl_memory_problem(&g->problem, g->memory, ids, count, err);
    result = result ? result : adapt_problem(g, err);
    if (!result) {
        g->caps = *bl_memory_caps(g->memory);
        g->problem->process_bytes = beside_region(&g->caps, g->problem, placement);
        result = choose_budget(g->problem, placement, g->caps.free_bytes, err);
    }
    if (!result) {
        result = prepare_levels(g, err);
    }
    if (!result) {
        result = add_phases(g, g, err);
    }
    if (!result && placement->repeats) {
        bl_problem_set_repeats(g->problem, true);
    } else if (!result) {
        result = add_followers(g, err);
    }
    if (!result) {
        bl_calibration_key key = bl_generation_key(g);
        result =
            bl_calibration_apply(bl_memory_calibration(g->memory), &key, g->problem, &g->phases_known, err);
    }
    return result;
}

int bl_generation_budget(bl_generation *g, const bl_placement *placement, uint64_t *least, uint64_t *budget,
                         bl_error *err) {
    int result = bl_generation_problem(g, placement, err);
    if (!result) {
        *least = bl_problem_min_budget(g->problem);
        *budget = g->problem->budget_bytes;
    }
    return result;
}

int bl_generation_hungriest(const bl_generation *g) {
    return bl_problem_hungriest(g->problem);
}

void bl_generation_all_levels(bl_generation *g) {
    g->all_levels = true;
}

int bl_generation_room(bl_room *out, bl_generation *g, const bl_placement *placement, bl_error *err) {
    int result = bl_generation_problem(g, placement, err);
    if (result) {
        return result;
    }
    const bl_problem *p = g->problem;
    bl_room r = {.least = bl_problem_min_budget(p),
                 .budget = p->budget_bytes,
                 .async_copy = p->async_copy,
                 .spares = true};
    bool all_fit = bl_problem_working_set(p) <= p->budget_bytes;
    for (int i = 0; i < g->declared_count; i++) {
        const bl_prepared *d = g->declared[i].prepared;
        uint64_t least = bl_mode_least(p, g->settings.mode, i);
        r.mode_least = least > r.mode_least ? least : r.mode_least;
        r.kept_least = d->graph->kept_bytes && least > r.kept_least ? least : r.kept_least;
        r.spares = r.spares && (all_fit || d->key.form != BL_UNET_PROLOGUE ||
                                d->graph->kept_bytes <= p->modules[p->phases[i].module].bytes);
    }
    *out = r;
    return 0;
}

void bl_generation_set_least(bl_generation *g, uint64_t bytes) {
    g->least = bytes;
}

int bl_generation_weigh(double *seconds, bl_generation *g, const bl_placement *placement, bl_error *err) {
    bl_error refused = {0};
    bl_plan *plan = NULL;
    int result = bl_generation_problem(g, placement, err);
    if (result) {
        return result;
    }
    int rc = bl_plan_make(&plan, g->problem, &g->settings, &refused);
    *seconds = rc ? INFINITY : plan->seconds;
    bl_plan_free(&plan);
    return rc && rc != BL_E_BUDGET ? bl_fail(err, rc, "%s", refused.message) : 0;
}
