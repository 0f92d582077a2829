#include "pipeline/telling.h"

#include "core/lines.h"
#include "pipeline/generation_parts.h"
#include "pipeline/tuned.h"
#include "residency/problem/follow.h"
#include "residency/plan/planner.h"
#include "residency/tell/advise.h"
#include "residency/tell/explain.h"
#include "residency/tell/hints.h"
#include "residency/tell/plot.h"
#include "residency/tell/sweep.h"
#include "residency/tell/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void ram_bytes(uint64_t *used, uint64_t *total) {
    long page = sysconf(_SC_PAGESIZE), pages = sysconf(_SC_PHYS_PAGES), size = 0, resident = 0;
    char line[256];
    if (!bl_first_line("/proc/self/statm", line, sizeof line) ||
        sscanf(line, "%ld %ld", &size, &resident) != 2) {
        resident = 0;
    }
    *used = (uint64_t)resident * (uint64_t)page;
    *total = (uint64_t)pages * (uint64_t)page;
}

json_t *bl_tell_report(const bl_generation *g, const bl_told *told) {
    return json_pack("{s:o, s:o, s:o, s:i}", "line", bl_line_json(&told->line), "plan",
                     bl_plan_json(g->plan, g->problem), "ledger", bl_ledger_json(&g->ledger), "left_out",
                     g->left_out);
}

/* Does --dtype bf16, or where the rest is in bf16 already --vae-dtype bf16, change this module? */
static bool would_change(const bl_generation *g, bl_module module) {
    bool vae = bl_module_is_vae(module);
    if (bl_modules_given(g->modules)->dtype == BL_F32) {
        return !vae || (bl_modules_given(g->modules)->vae_dtype == BL_F32 &&
                        bl_modules_given(g->modules)->vae_follows);
    }
    return vae && bl_modules_given(g->modules)->vae_dtype == BL_F32;
}

/* The problem `p` of the last generation in bf16; NULL where nothing would change or bf16 is not fast.
 * Weights take half the bytes. How long they are copied and compute is known if they ever did in bf16; else
 * they compute as long as now, and so do copies that share the cores, which read as much as before. Arenas
 * are left as they are. */
static int in_bf16(bl_problem **out, const bl_generation *g, const bl_problem *p, bl_error *err) {
    bool any = false;
    *out = NULL;
    for (int i = 0; i < p->phase_count; i++) {
        any = any || would_change(g, g->listed[p->phases[i].module]->module);
    }
    if (!any || !g->caps.bf16 || !g->caps.bf16_fast) {
        return 0;
    }
    bl_problem *half;
    int result = bl_problem_copy(&half, p, err);
    for (int m = 0; !result && m < g->listed_count; m++) {
        bl_problem_module *x = &half->modules[m];
        if (would_change(g, g->listed[m]->module)) {
            const char *stored = strchr(g->listed[m]->dtype, ',');
            snprintf(x->dtype, sizeof x->dtype, "%s%s", bl_dtype_name(BL_BF16), stored ? stored : "");
            for (int b = 0; b < x->block_count; b++) {
                const uint64_t small = bl_opened_bytes(g->modules, g->listed[m], b, false);
                const uint64_t wide = bl_opened_bytes(g->modules, g->listed[m], b, true);
                x->blocks[b].bytes /= small < wide && x->blocks[b].bytes < wide ? 1 : 2;
                x->blocks[b].copy_seconds = p->async_copy ? -1 : x->blocks[b].copy_seconds;
                x->blocks[b].resident_at = BL_NOWHERE;
            }
        }
    }
    if (!result) {
        bl_calibration_key key = bl_generation_key(g);
        char dtype[sizeof g->listed[0]->dtype];
        const char *stored = strchr(key.dtype, ',');
        snprintf(dtype, sizeof dtype, "%s%s", bl_dtype_name(BL_BF16), stored ? stored : "");
        key.dtype = dtype;
        result = bl_calibration_apply(bl_memory_calibration(g->memory), &key, half, NULL, err);
        if (result) {
            bl_problem_free(&half);
        }
    }
    *out = result ? NULL : half;
    return result;
}

/* One hint, if something could be better than this plan. By what was measured in this generation, too.
 * `again`: what is loaded anew for each picture could have stayed, which shows only in pictures that follow
 * others. */
static int make_hint(bl_hint *out, const bl_generation *g, const bl_plan *plan, bool again,
                     double wall_seconds, bl_error *err) {
    bl_problem *p = NULL, *half = NULL;
    bl_calibration_key key = bl_generation_key(g);
    int result = bl_problem_copy(&p, g->problem, err);
    if (!result) {
        result = bl_calibration_apply(bl_memory_calibration(g->memory), &key, p, NULL, err);
    }
    if (!result && again && !bl_problem_certain(p)) {
        bl_problem_set_repeats(p, true);
    }
    if (!result) {
        result = in_bf16(&half, g, p, err);
    }
    if (!result) {
        bl_hint_bf16 bf16 = {half, bl_modules_given(g->modules)->dtype == BL_F32 ? "--dtype" : "--vae-dtype"};
        result = bl_hint_find(out, p, plan, &g->settings, half ? &bf16 : NULL, wall_seconds, err);
    }
    bl_problem_free(&half);
    bl_problem_free(&p);
    return result;
}

int bl_tell_hint(bl_hint *out, bl_generation *g, const bl_placement *placement, bl_error *err) {
    bl_placement steady = *placement;
    bl_plan *plan = NULL;
    *out = (bl_hint){0};
    steady.repeats = true;
    int result = bl_generation_problem(g, &steady, err);
    result = result ? result : bl_plan_steady(&plan, g->problem, &g->settings, err);
    result = result ? result : make_hint(out, g, plan, true, plan->seconds, err);
    bl_plan_free(&plan);
    return result;
}

void bl_tell(bl_told *out, const bl_generation *g, bl_tell_wish wish) {
    char line[1024];
    uint64_t used, total;
    bl_error ignored = {0};
    double wall = g->ended - g->began;
    ram_bytes(&used, &total);
    *out = (bl_told){0};
    bl_line_make(&out->line, &g->ledger, wall, g->caps.kind == BL_DEVICE_GPU ? "GPU" : "CPU", used, total);
    bl_log_line(bl_generation_log(g), BL_LOG_INFO, "%s", out->line.text);
    if (wish.both) {
        bl_plan_against_ledger(line, sizeof line, g->plan, &g->ledger);
        bl_log_line(bl_generation_log(g), BL_LOG_INFO, "%s", line);
    }
    const bool hinted = wish.hint && !make_hint(&out->hint, g, g->plan, wish.again, wall, &ignored);
    if (hinted && !out->hint.text[0]) {
        bl_tuned_hint(&out->hint, g, wall);
    }
    if (hinted && out->hint.text[0]) {
        bl_log_line(bl_generation_log(g), BL_LOG_INFO, "Hint: %s", out->hint.text);
    }
}

int bl_tell_trace(bl_trace *t, const bl_generation *g, const char *path, int first, int count,
                  bl_error *err) {
    char title[64];
    int result = t->open ? 0 : bl_new_file_begin(&t->file, path, err);
    if (result) {
        return result;
    }
    if (!t->open) {
        t->open = true;
        t->began = g->ledger.began;
        bl_trace_begin(t->file.f);
    }
    snprintf(title, sizeof title, count > 1 ? "pictures %d-%d" : "picture %d", first + 1, first + count);
    bl_trace_add(t->file.f, &g->ledger, g->problem, g->ledger.began - t->began, title);
    return 0;
}

int bl_trace_close(bl_trace *t, int failed, bl_error *err) {
    if (!t->open) {
        return failed;
    }
    t->open = false;
    bl_trace_end(t->file.f);
    return bl_new_file_end(&t->file, failed, true, err);
}

/* ---- plans that are only looked at */

/* Which model on which device, and what is done more than once: "SDXL on a card: denoise base 25 passes".
 * Caller frees. */
static int plot_title(char **out, const bl_generation *g, bl_error *err) {
    size_t bytes;
    *out = NULL;
    FILE *f = open_memstream(out, &bytes);
    if (f) {
        fprintf(f, "%s on %s", bl_modules_key(g->modules), g->caps.name);
        const char *before = ": ";
        for (int i = 0; i < g->problem->phase_count; i++) {
            const bl_problem_phase *phase = &g->problem->phases[i];
            if (phase->passes > 1) {
                fprintf(f, "%s%s %d passes", before, phase->name, phase->passes);
                before = ", ";
            }
        }
    }
    if (!f || fclose(f)) {
        free(*out);
        *out = NULL;
        return bl_fail_memory(err, "the plot", 0);
    }
    return 0;
}

/* Plots the sweep, in every mode. */
static int plot(const bl_generation *g, const bl_plan_wish *wish, bl_error *err) {
    size_t count = (size_t)wish->sweep.points;
    char *title = NULL;
    bl_new_file file;
    bl_sweep_row *rows = calloc(BL_COMPARE_ROWS * count, sizeof *rows);
    int result = rows ? bl_sweep_modes(rows, wish->sweep.points, g->problem, &g->settings, wish->sweep.low,
                                       wish->sweep.high, wish->stop, err)
                      : bl_fail_memory(err, "the plot", BL_COMPARE_ROWS * count * sizeof *rows);
    result = result ? result : plot_title(&title, g, err);
    result = result ? result : bl_new_file_begin(&file, wish->svg_path, err);
    if (!result) {
        bl_plot picture = {rows, wish->sweep.points, g->problem->budget_bytes, title};
        result = bl_new_file_end(&file, bl_plot_svg(file.f, &picture, err), true, err);
    }
    free(title);
    free(rows);
    return result;
}

/* Adds the rows to the object under `key` and to the text. */
static int add_rows(json_t *object, FILE *text, const char *key, const bl_sweep_row *rows, int count,
                    bl_error *err) {
    fprintf(text, "\n");
    bl_sweep_print(text, rows, count);
    return json_object_set_new(object, key, bl_sweep_json(rows, count)) ? bl_fail_memory(err, "the plan", 0)
                                                                        : 0;
}

static int add_compare(bl_generation *g, json_t *object, FILE *text, bl_error *err) {
    bl_sweep_row rows[BL_COMPARE_ROWS];
    int result = bl_compare(rows, g->problem, &g->settings, err);
    return result ? result : add_rows(object, text, "compare", rows, BL_COMPARE_ROWS, err);
}

static int add_advice(bl_generation *g, json_t *object, FILE *text, const char *program, bl_error *err) {
    bl_advice a;
    bl_peer which;
    int result = bl_peer_find(&which, program, err);
    result = result ? result : bl_advise(&a, g->problem, which, g->settings.model_type, err);
    if (!result) {
        fprintf(text, "\n");
        bl_advice_print(text, &a);
        result = json_object_set_new(object, "advise", bl_advice_json(&a))
                     ? bl_fail_memory(err, "the plan", 0)
                     : 0;
    }
    return result;
}

static int add_sweep(bl_generation *g, json_t *object, FILE *text, const bl_plan_wish *wish, bl_error *err) {
    bl_sweep_row *rows = calloc((size_t)wish->sweep.points, sizeof *rows);
    if (!rows) {
        return bl_fail_memory(err, "the sweep", (unsigned long long)wish->sweep.points * sizeof *rows);
    }
    int result = bl_sweep(rows, wish->sweep.points, g->problem, &g->settings, wish->sweep.low,
                          wish->sweep.high, wish->stop, err);
    if (!result) {
        result = add_rows(object, text, "sweep", rows, wish->sweep.points, err);
    }
    if (!result && wish->svg_path) {
        result = plot(g, wish, err);
    }
    free(rows);
    return result;
}

/* Seconds of the first of the generations, with nothing on the device yet, and the smallest budget that it
 * works with. */
static int plan_first(double *seconds, uint64_t *least, const bl_generation *g, bl_error *err) {
    bl_problem *cold;
    bl_plan *plan;
    int result = bl_problem_copy(&cold, g->problem, err);
    if (result) {
        return result;
    }
    bl_problem_clear_resident(cold);
    result = bl_plan_make(&plan, cold, &g->settings, err);
    if (!result) {
        *seconds = plan->seconds;
        *least = g->least && g->least < plan->min_budget_bytes ? g->least : plan->min_budget_bytes;
    }
    bl_plan_free(&plan);
    bl_problem_free(&cold);
    return result;
}

/* The first of several, which may have other phases than those after it. `plan`, of these, gets the smallest
 * budget of all. */
static int look_at_first(double *seconds, bl_generation *g, bl_plan *plan, const bl_placement *placement,
                         const bl_plan_wish *wish, bl_error *err) {
    uint64_t least;
    bl_placement once = *placement;
    once.repeats = false;
    *seconds = plan->seconds;
    if (wish->count == 1) {
        return 0;
    }
    int result = wish->first ? bl_generation_problem(wish->first, &once, err) : 0;
    result = result ? result : plan_first(seconds, &least, wish->first ? wish->first : g, err);
    if (!result && wish->first) { /* it does all that they do, and more */
        plan->min_budget_bytes = least;
    }
    return result;
}

/* What the encoders have to do: the plan's phases say it, and here is why. */
static void print_encoded(FILE *text, const bl_plan_wish *wish) {
    const char *plural = wish->chunks == 1 ? "" : "s";
    if (!wish->missing) {
        fprintf(text, "the prompt is known: its %d chunk%s %s encoded before\n", wish->chunks, plural,
                wish->chunks == 1 ? "was" : "were");
    } else if (wish->count == 1) {
        fprintf(text, "the prompt is new: %d of its %d chunk%s %s to be encoded\n", wish->missing,
                wish->chunks, plural, wish->missing == 1 ? "has" : "have");
    } else if (wish->cached) {
        fprintf(text, "the first encodes the prompt, the others find it encoded\n");
    } else {
        fprintf(text, "each encodes the prompt: no encodings are kept\n");
    }
}

/* Of which picture the seconds are, what the whole request takes, and how sure all of it is. */
static int add_request(bl_generation *g, json_t *object, FILE *text, const bl_plan *plan, double first,
                       const bl_plan_wish *wish, bl_error *err) {
    const int misses = wish->count > 1 && wish->cached ? 0 : wish->missing;
    double all = first + (wish->count - 1) * plan->seconds;
    int known = g->phases_known, phases = g->problem->phase_count;
    if (wish->count > 1) {
        fprintf(text, "this is for each after the first: %.2f s, then %d of %.2f s each, %.2f s in all\n",
                first, wish->count - 1, plan->seconds, all);
    }
    print_encoded(text, wish);
    if (wish->described) {
        fprintf(text, "estimated from the description of %s\n", g->caps.name);
    } else if (known < phases) {
        fprintf(text, "estimated, %d of %d phases were measured here; `ballast calibrate` measures them\n",
                known, phases);
    } else {
        fprintf(text, "measured on this machine\n");
    }
    json_t *cache = json_pack("{s:i, s:i, s:i}", "hits", wish->chunks - misses, "misses", misses,
                              "first_misses", wish->missing);
    return json_object_set_new(object, "text_cache", cache) ||
                   json_object_set_new(object, "first_seconds", json_real(first)) ||
                   json_object_set_new(object, "request_seconds", json_real(all))
               ? bl_fail_memory(err, "the plan", 0)
               : 0;
}

int bl_tell_plan(json_t **out, char **text, bl_generation *g, const bl_placement *placement,
                 const bl_plan_wish *wish, bl_error *err) {
    *out = NULL;
    *text = NULL;
    bl_plan *plan = NULL;
    char *head = NULL, *all = NULL;
    double first;
    size_t all_bytes = 0;
    json_t *object = NULL;
    g->all_levels = true; /* the smallest budget is told, and other budgets are asked about */
    int result = bl_generation_problem(g, placement, err);
    if (!result) {
        /* One begins with what lies there now; each of several as the one before it ends. */
        result = (placement->repeats ? bl_plan_steady : bl_plan_make)(&plan, g->problem, &g->settings, err);
    }
    if (!result && g->least && g->least < plan->min_budget_bytes) {
        plan->min_budget_bytes = g->least;
    }
    if (!result) {
        result = look_at_first(&first, g, plan, placement, wish, err);
    }
    if (!result) {
        result = bl_plan_explain(&head, plan, g->problem, err);
    }
    FILE *f = result ? NULL : open_memstream(&all, &all_bytes);
    object = f ? bl_plan_json(plan, g->problem) : NULL;
    if (!result && (!f || !object)) {
        result = bl_fail_memory(err, "the plan", 0);
    }
    if (!result) {
        fputs(head, f);
        bool fine = !json_object_set_new(object, "schema", json_integer(BL_REPORT_SCHEMA)) &&
                    !json_object_set_new(object, "version", json_string(BALLAST_VERSION)) &&
                    !json_object_set_new(object, "device", json_string(g->caps.name)) &&
                    !json_object_set_new(object, "phases_measured", json_integer(g->phases_known));
        result =
            fine ? add_request(g, object, f, plan, first, wish, err) : bl_fail_memory(err, "the plan", 0);
    }
    if (!result && wish->compare) {
        result = add_compare(g, object, f, err);
    }
    if (!result && wish->advise) {
        result = add_advice(g, object, f, wish->advise, err);
    }
    if (!result && wish->sweep.points) {
        result = add_sweep(g, object, f, wish, err);
    }
    if (f && fclose(f) && !result) { /* what was printed went into memory */
        result = bl_fail_memory(err, "the plan", all_bytes);
    }
    free(head);
    bl_plan_free(&plan);
    if (result) {
        free(all);
        json_decref(object);
        return result;
    }
    *text = all;
    *out = object;
    return 0;
}
