#include "pipeline/tuned.h"

#include "pipeline/generation_parts.h"
#include "pipeline/modules_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORTH_SAYING 0.05 /* of the wall clock, as of other hints */

void bl_tuned_names(bl_tuned *out, const bl_modules *m, bl_module module, bl_shape_key key) {
    *out = (bl_tuned){0};
    bl_tuned_device(out->device, bl_memory_caps(m->o.memory)->name);
    snprintf(out->model, sizeof out->model, "%s", bl_modules_key(m));
    snprintf(out->dtype, sizeof out->dtype, "%s", bl_dtype_name(bl_modules_dtype(m, module)));
    snprintf(out->module, sizeof out->module, "%s", bl_module_name(module));
    bl_shape_text(out->shape, sizeof out->shape, key);
    snprintf(out->version, sizeof out->version, "%s", BALLAST_VERSION);
}

/* An entry may come from a file: what is no choice on this device is none, and is not told as one. */
static void leave_out(bl_tuning *t, const bl_device_caps *caps) {
    if (caps->kind == BL_DEVICE_CPU) {
        t->graphs = 0;
    } else {
        *t = (bl_tuning){.level = t->level, .graphs = t->graphs};
    }
}

/* The user's threads run it, not those that were tuned: that says nothing of these. */
static bool others_threads(const bl_modules *m, const bl_tuned *t) {
    return m->o.own_threads && t->tuning.threads;
}

void bl_tuned_choices(bl_tuning *out, bool *without, const bl_modules *m, bl_module module,
                      bl_shape_key key) {
    bl_tuned t;
    bl_tuned_names(&t, m, module, key);
    *out = bl_tuned_find(&t, bl_memory_calibration(m->o.memory)) ? t.tuning : (bl_tuning){0};
    leave_out(out, bl_memory_caps(m->o.memory));
    out->threads = m->o.own_threads || out->threads > 2 * sysconf(_SC_NPROCESSORS_CONF) ? 0 : out->threads;
    int levels = bl_memory_caps(m->o.memory)->arena_levels;
    out->level = out->level < levels ? out->level : 0;
    const bool judged = without && !m->goes_without && !others_threads(m, &t);
    if (judged && bl_tuned_goes_without(&t) && bl_tuning_yields(out)) {
        *without = true;
        *out = bl_tuning_unyielding(out);
    }
}

/* The first phase that goes without what is on trial; NULL: none does. */
static const bl_declared *first_without(const bl_generation *g) {
    const bl_declared *d = g->declared, *end = d + g->declared_count;
    while (d < end && !d->without) {
        d++;
    }
    return d < end ? d : NULL;
}

void bl_tuned_tell(bl_generation *g) {
    const bl_declared *without = first_without(g);
    int count = 0, first = 0;
    if (without) {
        g->modules->goes_without = true; /* one that is given up is not judged: the next has it all */
        bl_log_line(
            bl_generation_log(g), BL_LOG_INFO,
            "Phase %s goes without the threads that were tuned while others used this machine, to see "
            "whether they still help",
            without->name);
    }
    for (int i = 0; i < g->declared_count; i++) {
        first = g->declared[i].tuned && !count ? i : first;
        count += g->declared[i].tuned;
    }
    if (count && !g->modules->told_tuned) {
        char text[BL_TUNING_TEXT], more[64] = "";
        bl_tuning_text(text, &g->declared[first].prepared->tuning);
        if (count > 1) {
            snprintf(more, sizeof more, ", and %d more phase%s likewise", count - 1, count > 2 ? "s" : "");
        }
        bl_log_line(bl_generation_log(g), BL_LOG_INFO,
                    "Tuned on this machine: phase %s runs with %s%s; `ballast tune --show` says more",
                    g->declared[first].name, text, more);
        g->modules->told_tuned = true;
    }
}

/* The part of its seconds that the graph would keep, by entries of the same module at other shapes: the least
 * of the gains that there were. 1: there are none. */
static double gain_elsewhere(const bl_tuned *list, int count, const bl_tuned *names) {
    double part = 0;
    for (int i = 0; i < count; i++) {
        const bl_tuned *t = &list[i];
        if (!strcmp(t->device, names->device) && !strcmp(t->model, names->model) &&
            !strcmp(t->dtype, names->dtype) && !strcmp(t->module, names->module) &&
            !strcmp(t->version, names->version) && !(t->psnr > 0) && !t->on_trial) {
            double ratio = t->seconds / t->untuned_seconds;
            part = ratio > part ? ratio : part;
        }
    }
    return part > 0 && part < 1 ? part : 1;
}

void bl_tuned_hint(bl_hint *out, const bl_generation *g, double wall_seconds) {
    bl_tuned *list, names;
    bl_error ignored = {0};
    int count;
    double saves = 0;
    if (bl_tuned_list(&list, &count, bl_memory_calibration(g->memory), &ignored)) {
        return;
    }
    for (int i = 0; i < g->declared_count && count; i++) {
        const bl_declared *d = &g->declared[i];
        bl_tuned_names(&names, g->modules, d->module, d->prepared->key);
        if (d->passes > 1 && !d->tuned && !d->without && !g->untuned) {
            saves += d->passes * bl_generation_pass_seconds(g, i) * (1 - gain_elsewhere(list, count, &names));
        }
    }
    free(list);
    if (saves > WORTH_SAYING * wall_seconds) {
        *out = (bl_hint){.flag = "ballast tune", .saves_seconds = saves};
        snprintf(out->text, sizeof out->text,
                 "`ballast tune` would save about %.*f s of %.1f s: it does at another size",
                 saves < 0.95 ? 2 : 1, saves, wall_seconds);
    }
}

/* Whether an earlier phase of the generation has the same entry: one ledger is noted once. */
static bool is_noted(const bl_generation *g, int phase) {
    const bl_declared *d = &g->declared[phase];
    bool noted = false;
    for (int i = 0; i < phase; i++) {
        const bl_declared *e = &g->declared[i];
        noted = noted || (e->module == d->module && e->passes > 1 &&
                          bl_shape_same(e->prepared->key, d->prepared->key));
    }
    return noted;
}

void bl_tuned_judge(const bl_generation *g) {
    for (int i = 0; i < g->declared_count; i++) {
        const bl_declared *d = &g->declared[i];
        if (!(d->tuned || d->without) || d->passes < 2 || /* a first pass alone is no measure */
            g->left_out || is_noted(g, i)) {
            continue;
        }
        bl_tuned t;
        bl_tuned_names(&t, g->modules, d->module, d->prepared->key);
        double seconds = bl_generation_pass_seconds(g, i);
        const bool found = bl_tuned_find(&t, bl_memory_calibration(g->memory)),
                   on_trial = found && t.on_trial;
        if (found && others_threads(g->modules, &t)) {
            continue;
        }
        g->modules->goes_without = false;
        if (bl_tuned_note(bl_memory_calibration(g->memory), &t, seconds, d->without)) {
            bl_log_line(
                bl_generation_log(g), BL_LOG_INFO,
                "What was tuned for phase %s is dropped: over its last %d runs it was %s; `ballast tune` "
                "measures anew",
                d->name, BL_TUNED_RUNS,
                on_trial ? "no faster than without, as others use this machine less"
                         : "5% slower than untuned");
        }
    }
}
