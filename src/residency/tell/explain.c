#include "residency/tell/explain.h"

#include "core/size_text.h"
#include "residency/tell/decisions.h"
#include "residency/tell/fullest.h"

#include <stdio.h>
#include <stdlib.h>

/* Why the bound is not reached. It lets parts of blocks be kept and copied: with room for few that cannot be.
 */
static void print_gap(FILE *f, const bl_plan *plan, const bl_problem *p) {
    int worst = 0;
    for (int i = 1; i < plan->phase_count; i++) {
        worst = plan->phases[i].wait_seconds > plan->phases[worst].wait_seconds ? i : worst;
    }
    fprintf(f, "%.0f%% over the bound, most of it waits for %s in phase %s: ",
            100 * (plan->seconds / plan->bound_seconds - 1), plan->load_count ? "loads and copies" : "copies",
            p->phases[worst].name);
    if (plan->mode != BL_OFFLOAD_AUTO) {
        fprintf(f, "this mode copies what it finds missing, --offload auto plans ahead\n");
        return;
    }
    if (plan->working_set_bytes <= p->budget_bytes) {
        fprintf(f, "all weights fit, but they are not there yet, and a block runs once it has arrived as a "
                   "whole; later pictures need not wait (--count 2)\n");
        return;
    }
    fprintf(f,
            "the bound counts blocks in parts, but whole ones share %s there, one that runs and one that "
            "arrives among them, of up to %s each\n",
            bl_size_of(p->budget_bytes - plan->phases[worst].arena_bytes).text,
            bl_size_of(p->modules[p->phases[worst].module].largest_block).text);
}

/* What its plan makes of the weights, in one word of the glossary. */
static const char *kind_of(const bl_plan *plan, const bl_problem *p) {
    for (int i = 0; i < plan->phase_count; i++) {
        if (plan->phases[i].streamed_blocks) {
            return "weights streamed";
        }
    }
    bool all = plan->mode != BL_OFFLOAD_MODEL && plan->working_set_bytes <= p->budget_bytes;
    return all ? "all resident" : "each phase's weights resident";
}

/* Seconds of merging adapters into what is packed, each time that it is. */
static double merge_seconds(const bl_plan *plan, const bl_problem *p) {
    double sum = 0;
    for (int i = 0; i < plan->move_count; i++) {
        const bl_move *v = &plan->moves[i];
        bool packs = v->kind == BL_MOVE_LOAD || (v->kind == BL_MOVE_COPY && !p->has_store);
        sum += packs ? p->modules[v->module].blocks[v->block].merge_seconds : 0;
    }
    return sum;
}

/* Seconds of making weights wide that stay small, in all passes of a phase; of all phases. */
static double phase_widening(const bl_plan *plan, const bl_problem *p, int phase) {
    const bl_problem_phase *f = &p->phases[phase];
    return f->passes * f->levels[plan->phases[phase].level].widen_seconds;
}

static double widening(const bl_plan *plan, const bl_problem *p) {
    double sum = 0;
    for (int i = 0; i < plan->phase_count; i++) {
        sum += phase_widening(plan, p, i);
    }
    return sum;
}

/* Which modules hold weights as they are stored, in how many bytes, and what making them wide takes. */
static void print_small(FILE *f, const bl_plan *plan, const bl_problem *p) {
    const char *before = "weights stay small: ";
    for (int m = 0; m < p->module_count; m++) {
        bool small = false;
        for (int i = 0; i < plan->phase_count; i++) {
            small = small || (p->phases[i].module == m && phase_widening(plan, p, i) > 0);
        }
        if (small) {
            fprintf(f, "%s%s %s (%s)", before, p->modules[m].name, bl_size_of(p->modules[m].bytes).text,
                    p->modules[m].dtype);
            before = ", ";
        }
    }
    if (widening(plan, p) > 0) {
        fprintf(f, "; making them wide takes %.2f s of the seconds\n", widening(plan, p));
    }
}

static double share(const bl_plan *plan, bl_share share) {
    double sum = 0;
    for (int i = 0; i < plan->phase_count; i++) {
        sum += plan->phases[i].shares[share];
    }
    return sum;
}

/* Adds "first_load_seconds", "swap_seconds" and "steady_seconds". */
static bool add_shares(json_t *to, const double shares[BL_SHARE_COUNT]) {
    bool fine = to;
    for (int k = 0; k < BL_SHARE_COUNT && fine; k++) {
        fine = !json_object_set_new(to, bl_share_name((bl_share)k), json_real(shares[k]));
    }
    return fine;
}

static void print_head(FILE *f, const bl_plan *plan, const bl_problem *p) {
    fprintf(f, "offload %s, budget %s: %s, peak %s, %d moves of %s\n", bl_offload_name(plan->mode),
            bl_size_of(p->budget_bytes).text, kind_of(plan, p), bl_size_of(plan->peak_bytes).text,
            plan->onload_count, bl_size_of(plan->moved_bytes).text);
    fprintf(f, "seconds %.2f (bound %.2f), moved %s (bound %s)\n", plan->seconds, plan->bound_seconds,
            bl_size_of(plan->moved_bytes).text, bl_size_of(plan->bound_moved_bytes).text);
    fprintf(f, "of the seconds: first load %.2f, swap %.2f, steady %.2f\n", share(plan, BL_SHARE_FIRST_LOAD),
            share(plan, BL_SHARE_SWAP), share(plan, BL_SHARE_STEADY));
    if (p->has_store) {
        fprintf(f, "host budget %s: at most %s in use, %d loads of %s from the file, %.2f s of reading\n",
                bl_size_of(p->host_bytes).text, bl_size_of(plan->store_peak_bytes).text, plan->load_count,
                bl_size_of(plan->loaded_bytes).text, plan->load_seconds);
    }
    print_small(f, plan, p);
    if (plan->slowed_seconds > 0) {
        fprintf(f, "compute takes %.0f%% longer while copies run beside it: %.2f s of the seconds\n",
                100 * p->copy_slowdown, plan->slowed_seconds);
    }
    if (p->adapter_bytes) {
        fprintf(f, "adapters of %s are merged into what is packed, which takes %.2f s\n",
                bl_size_of(p->adapter_bytes).text, merge_seconds(plan, p));
    }
    if (p->process_bytes) {
        fprintf(f, "beside it %s for pictures, latents and what else the process takes\n",
                bl_size_of(p->process_bytes).text);
    }
    if (p->own_bytes) {
        fprintf(f, "beside it %s that the device's driver and libraries hold\n",
                bl_size_of(p->own_bytes).text);
    }
    fprintf(f, "working set %s, smallest budget that works %llu bytes (%s, phase %s)\n",
            bl_size_of(plan->working_set_bytes).text, (unsigned long long)plan->min_budget_bytes,
            bl_size_of(plan->min_budget_bytes).text, p->phases[bl_problem_hungriest(p)].name);
    for (int i = 0; i < plan->phase_count; i++) {
        if (plan->phases[i].level) {
            fprintf(f,
                    "phase %s runs with the smaller arena %d (%s for %s): the larger one does not "
                    "fit\n",
                    p->phases[i].name, plan->phases[i].level, bl_size_of(plan->phases[i].arena_bytes).text,
                    bl_size_of(p->phases[i].levels[0].arena_bytes).text);
        }
    }
    if (plan->seconds > 1.03 * plan->bound_seconds) {
        print_gap(f, plan, p);
    }
}

int bl_plan_explain(char **out, const bl_plan *plan, const bl_problem *p, bl_error *err) {
    *out = NULL;
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f) {
        return bl_fail_memory(err, "the explanation of a plan", 0);
    }
    print_head(f, plan, p);
    fprintf(f, "%-20s %-16s %6s %9s %9s %9s %9s%s %9s %9s\n", "phase", "module", "passes", "arena", "stays",
            "streamed", "moved", p->has_store ? "    loaded" : "", "seconds", "waits");
    for (int i = 0; i < plan->phase_count; i++) {
        const bl_plan_phase *x = &plan->phases[i];
        fprintf(f, "%-20s %-16s %6d %9s %9s %9s %9s", p->phases[i].name, p->modules[p->phases[i].module].name,
                p->phases[i].passes, bl_size_of(x->arena_bytes).text, bl_size_of(x->resident_bytes).text,
                bl_size_of(x->streamed_bytes).text, bl_size_of(x->moved_bytes).text);
        if (p->has_store) {
            fprintf(f, " %9s", bl_size_of(x->loaded_bytes).text);
        }
        fprintf(f, " %9.3f %9.3f\n", x->seconds, x->wait_seconds);
    }
    if (fclose(f)) {
        free(text);
        return bl_fail_memory(err, "the explanation of a plan", size);
    }
    *out = text;
    return 0;
}

static json_int_t count(uint64_t bytes) {
    return (json_int_t)bytes;
}

static json_t *phase_json(const bl_plan *plan, const bl_problem *p, int phase) {
    const bl_plan_phase *x = &plan->phases[phase];
    const bl_problem_phase *f = &p->phases[phase];
    const bl_problem_module *m = &p->modules[f->module];
    json_t *made = json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:i, s:i, s:I, s:I, s:I, s:i, s:I, s:I, s:f, s:f, s:f, s:f}", "name",
        f->name, "stage", f->stage, "module", m->name, "weights", m->dtype, "weight_bytes", count(m->bytes),
        "passes", f->passes, "arena_level", x->level, "arena_bytes", count(x->arena_bytes), "resident_bytes",
        count(x->resident_bytes), "streamed_bytes", count(x->streamed_bytes), "streamed_blocks",
        x->streamed_blocks, "moved_bytes", count(x->moved_bytes), "loaded_bytes", count(x->loaded_bytes),
        "seconds", x->seconds, "compute_seconds", x->compute_seconds, "wait_seconds", x->wait_seconds,
        "widen_seconds", phase_widening(plan, p, phase));
    return add_shares(made, x->shares) ? made : (json_decref(made), NULL);
}

json_t *bl_plan_json(const bl_plan *plan, const bl_problem *p) {
    json_t *phases = json_array(), *decisions = bl_decisions_json(plan, p);
    bool fine = phases && decisions;
    for (int i = 0; i < plan->phase_count && fine; i++) {
        fine = !json_array_append_new(phases, phase_json(plan, p, i));
    }
    json_t *root = NULL;
    if (fine) {
        root = json_pack(
            "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:i, s:f, s:I, s:f, s:I, s:I, s:f, s:I, s:I, s:I, "
            "s:i, s:f, s:I, s:f, s:f, s:f, s:f}",
            "mode", bl_offload_name(plan->mode), "method", plan->method, "budget_bytes",
            count(p->budget_bytes), "process_bytes", count(p->process_bytes), "own_bytes",
            count(p->own_bytes), "peak_bytes", count(plan->peak_bytes), "moved_bytes",
            count(plan->moved_bytes), "moves", plan->onload_count, "seconds", plan->seconds,
            "bound_moved_bytes", count(plan->bound_moved_bytes), "bound_seconds", plan->bound_seconds,
            "min_budget_bytes", count(plan->min_budget_bytes), "working_set_bytes",
            count(plan->working_set_bytes), "planning_seconds", plan->planning_seconds, "host_bytes",
            count(p->has_store ? p->host_bytes : 0), "store_peak_bytes", count(plan->store_peak_bytes),
            "loaded_bytes", count(plan->loaded_bytes), "loads", plan->load_count, "load_seconds",
            plan->load_seconds, "adapter_bytes", count(p->adapter_bytes), "merge_seconds",
            merge_seconds(plan, p), "widen_seconds", widening(plan, p), "copy_slowdown",
            p->async_copy ? p->copy_slowdown : 0.0, "slowed_seconds", plan->slowed_seconds);
        const double shares[BL_SHARE_COUNT] = {share(plan, BL_SHARE_STEADY), share(plan, BL_SHARE_FIRST_LOAD),
                                               share(plan, BL_SHARE_SWAP)};
        fine = add_shares(root, shares) && !json_object_set(root, "phases", phases) &&
               !json_object_set(root, "decisions", decisions) && bl_fullest_add(root, plan, p);
    }
    json_decref(phases);
    json_decref(decisions);
    if (!fine) {
        json_decref(root);
        return NULL;
    }
    return root;
}

json_t *bl_ledger_json(const bl_ledger *l) {
    json_t *stages = json_object(), *arenas = json_array(), *phases = json_array();
    bool fine = stages && arenas && phases;
    for (int i = 0; i < l->stage_count && fine; i++) {
        fine = !json_object_set_new(stages, l->stages[i].name, json_real(l->stages[i].seconds));
    }
    for (int i = 0; i < l->phase_count && fine; i++) {
        json_t *phase = json_pack("{s:s}", "name", l->phases[i].name);
        fine = add_shares(phase, l->phases[i].shares) &&
               !json_array_append_new(arenas, json_integer(count(l->arena_bytes[i]))) &&
               !json_array_append(phases, phase);
        json_decref(phase);
    }
    json_t *root =
        fine ? json_pack("{s:I, s:O, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:O, s:O}", "peak_bytes",
                         count(l->peak_bytes), "arena_bytes", arenas, "moved_bytes", count(l->moved_bytes),
                         "loaded_bytes", count(l->loaded_bytes), "seconds", bl_ledger_device_seconds(l),
                         "onload_seconds", bl_ledger_seconds(l, BL_WORK_ONLOAD), "load_seconds",
                         bl_ledger_seconds(l, BL_WORK_LOAD), "wait_seconds",
                         bl_ledger_seconds(l, BL_WORK_WAIT), "widen_seconds", l->widen_seconds, "phases",
                         phases, "stages", stages)
             : NULL;
    const double shares[BL_SHARE_COUNT] = {bl_ledger_share(l, BL_SHARE_STEADY),
                                           bl_ledger_share(l, BL_SHARE_FIRST_LOAD),
                                           bl_ledger_share(l, BL_SHARE_SWAP)};
    if (!add_shares(root, shares)) {
        json_decref(root);
        root = NULL;
    }
    json_decref(phases);
    json_decref(stages);
    json_decref(arenas);
    return root;
}

void bl_plan_against_ledger(char *out, size_t bytes, const bl_plan *plan, const bl_ledger *l) {
    double seconds = bl_ledger_device_seconds(l);
    snprintf(out, bytes,
             "planned %.2f s, was %.2f s (%+.1f%%); moved %s of %s planned; peak %s of %s "
             "planned",
             plan->seconds, seconds, plan->seconds > 0 ? 100 * (seconds / plan->seconds - 1) : 0.0,
             bl_size_of(l->moved_bytes).text, bl_size_of(plan->moved_bytes).text,
             bl_size_of(l->peak_bytes).text, bl_size_of(plan->peak_bytes).text);
}
