/* Tuning, and what is known of it. */
#include "api/api.h"

#include "core/json_text.h"
#include "core/parallel.h"
#include "residency/run/tuned.h"
#include "tune/entries.h"
#include "tune/tune.h"

#include <stdlib.h>
#include <string.h>

static int read_wish(bl_tune_wish *wish, const ballast_model *m, const ballast_tune_options *o,
                     bl_error *err) {
    const char *bits = o->bits ? o->bits : "same";
    bl_device_caps caps = bl_device_caps_of(m->context->device);
    const bool cpu = caps.kind == BL_DEVICE_CPU;
    if (!(o->seconds >= 1 && o->seconds <= 86400)) {
        return bl_fail(err, BL_E_ARGUMENT, "time: %g s is not between 1 s and a day", o->seconds);
    }
    if (strcmp(bits, "same") != 0 && strcmp(bits, "any") != 0) {
        return bl_fail(err, BL_E_ARGUMENT, "bits: no \"%.40s\"; there are same and any", bits);
    }
    if (m->context->simulated) {
        return bl_fail(err, BL_E_UNSUPPORTED,
                       "a simulated device cannot be measured; ask for a plan, or take the cpu");
    }
    *wish = (bl_tune_wish){.seconds = o->seconds,
                           .any_bits = !strcmp(bits, "any"),
                           .where = {.threads = m->context->threads,
                                     .cores = cpu ? bl_usable_cores() : 0,
                                     .processors = cpu ? bl_usable_processors() : 0,
                                     .nodes = cpu ? bl_usable_nodes() : 0,
                                     .arena_levels = caps.arena_levels,
                                     .launches = !cpu,
                                     .convolves = caps.convolves},
                           .line = o->line,
                           .payload = o->payload};
    return 0;
}

int ballast_tune(char **json, char **text, ballast_model *model, const ballast_generate_options *options,
                 const ballast_tune_options *tune, ballast_error *err) {
    ballast_generate_options o;
    ballast_tune_options own_tune;
    ballast_adapter *adapters = NULL;
    bl_tune_wish wish;
    json_t *object = NULL;
    char *line = NULL;
    bl_turn turn;
    bl_error own = {0};
    err = err ? err : &own;
    if (json) {
        *json = NULL;
    }
    if (text) {
        *text = NULL;
    }
    BL_NEED(model);
    BL_NEED(options);
    int result = bl_take_tune_options(&own_tune, tune, err);
    result = result ? result : bl_begin(&turn, &o, &adapters, model, options, __func__, err);
    if (!result) {
        bl_leave_out_results(&o);
        result = read_wish(&wish, model, &own_tune, err);
        if (!result) {
            bl_pipeline p = bl_pipeline_of(model);
            result = bl_tune(&object, &line, &p, &o, &wish, err);
        }
        bl_turn_end(&turn);
    }
    free(adapters);
    if (json && object) { /* of one that was stopped, too */
        int rc = bl_json_text(json, object, result ? NULL : err);
        result = result ? result : rc;
    } else {
        json_decref(object);
    }
    if (text && line) {
        *text = line;
    } else {
        free(line);
    }
    return result;
}

int ballast_tuned(char **json, ballast_context *context, ballast_error *err) {
    bl_turn turn;
    json_t *object = NULL;
    bl_error own = {0};
    err = err ? err : &own;
    BL_NEED(json);
    *json = NULL;
    BL_NEED(context);
    int result = bl_turn_begin(&turn, context, NULL, __func__, err);
    if (!result) {
        result = bl_entries_json(&object, bl_memory_calibration(context->memory), err);
        bl_turn_end(&turn);
    }
    return result ? result : bl_json_text(json, object, err);
}

int ballast_tuned_forget(int *count, ballast_context *context, const ballast_model *model,
                         ballast_error *err) {
    bl_turn turn;
    bl_error own = {0};
    int gone = 0;
    err = err ? err : &own;
    BL_NEED(context);
    int result = bl_turn_begin(&turn, context, NULL, __func__, err);
    if (!result) {
        result = bl_tuned_forget(&gone, bl_memory_calibration(context->memory),
                                 model ? bl_modules_key(model->modules) : NULL, err);
        bl_turn_end(&turn);
    }
    if (count) {
        *count = gone;
    }
    return result;
}

int ballast_tuned_import(int *count, ballast_context *context, const char *json, ballast_error *err) {
    bl_turn turn;
    bl_tuned *entries = NULL;
    bl_error own = {0};
    int n = 0;
    err = err ? err : &own;
    if (count) {
        *count = 0;
    }
    BL_NEED(context);
    BL_NEED(json);
    int result = bl_turn_begin(&turn, context, NULL, __func__, err);
    if (!result) {
        result = bl_entries_read(&entries, &n, json, err);
        result = result ? result : bl_tuned_keep_all(bl_memory_calibration(context->memory), entries, n, err);
        bl_turn_end(&turn);
    }
    free(entries);
    if (count && !result) {
        *count = n;
    }
    return result;
}
