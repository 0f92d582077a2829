#include "api/api.h"

#include "core/json_text.h"
#include "core/parallel.h"
#include "core/size_text.h"
#include "device/open/open.h"

#include <stdio.h>
#include <string.h>

#define MOST_CARDS 16

/* "25.1 GB, 14.3 GB free, 312 MB the driver's own; f32, bf16; auto takes bf16; copies at about 25.2 GB a
 * second"
 */
static json_t *text_of(const bl_device_caps *caps) {
    char own[48] = "", copies[48] = "", beside[64] = "", libraries[300] = "";
    if (caps->own_bytes) {
        snprintf(own, sizeof own, ", %s the driver's own", bl_size_of(caps->own_bytes).text);
    }
    if (caps->copy_rate > 0) {
        snprintf(copies, sizeof copies, "; copies at about %s a second",
                 bl_size_of((uint64_t)caps->copy_rate).text);
    }
    if (caps->copy_slowdown > 0) {
        snprintf(beside, sizeof beside, ", beside which compute takes %.0f%% longer",
                 100 * caps->copy_slowdown);
    }
    if (*caps->libraries) {
        snprintf(libraries, sizeof libraries, "; libraries of %s", caps->libraries);
    }
    return json_sprintf("%s, %s free%s; %s%s%s; auto takes %s%s%s%s", bl_size_of(caps->memory_bytes).text,
                        bl_size_of(caps->free_bytes).text, own, caps->f32 ? "f32" : "",
                        caps->f32 && caps->bf16 ? ", " : "", caps->bf16 ? "bf16" : "",
                        caps->bf16_fast ? "bf16" : "f32", copies, beside, libraries);
}

/* Takes the device over. NULL: no memory. */
static json_t *describe(bl_device *d, const char *name) {
    bl_device_caps caps = bl_device_caps_of(d);
    json_t *dtypes = json_array();
    if (caps.f32) {
        json_array_append_new(dtypes, json_string("f32"));
    }
    if (caps.bf16) {
        json_array_append_new(dtypes, json_string("bf16"));
    }
    json_t *o =
        json_pack("{s:s, s:o, s:I, s:I, s:I, s:f, s:f, s:o, s:s, s:b, s:o}", "device", name, "name",
                  json_string(caps.name), "memory_bytes", (json_int_t)caps.memory_bytes, "free_bytes",
                  (json_int_t)caps.free_bytes, "own_bytes", (json_int_t)caps.own_bytes, "copy_rate",
                  caps.copy_rate, "copy_slowdown", caps.copy_slowdown, "dtypes", dtypes, "auto_dtype",
                  caps.bf16_fast ? "bf16" : "f32", "host_store", caps.host_store, "text", text_of(&caps));
    bl_device_close(&d);
    return o;
}

/* Appends it, or why there is none. `found`: whether there is one. */
static int add_device(json_t *list, bool *found, const char *name, const bl_cpu_options *cpu, bool tell,
                      bl_error *err) {
    bl_device *d = NULL;
    bl_error none = {0};
    *found = !bl_device_open(&d, name, cpu, &none);
    if (!*found && !tell) {
        return 0;
    }
    json_t *o = *found ? describe(d, name)
                       : json_pack("{s:s, s:o}", "device", name, "error", json_string(none.message));
    return json_array_append_new(list, o) ? bl_fail_memory(err, "the list of devices", 0) : 0;
}

int ballast_devices(char **json, ballast_error *err) {
    BL_NEED(json);
    *json = NULL;
    const bl_cpu_options cpu = {.threads = bl_usable_cores()};
    json_t *list = json_array();
    if (!list) {
        return bl_fail_memory(err, "the list of devices", 0);
    }
    bool found;
    int result = add_device(list, &found, "cpu", &cpu, true, err);
    found = true;
    for (int i = 0; i < MOST_CARDS && found && !result; i++) {
        char name[32] = "cuda";
        if (i) {
            snprintf(name, sizeof name, "cuda:%d", i);
        }
        result = add_device(list, &found, name, &cpu, !i, err);
    }
    if (result) {
        json_decref(list);
        return result;
    }
    return bl_json_text(json, list, err);
}

/* What is put down where a device does not say how fast it is: of cards of these years the usual. */
#define USUAL_COPY_RATE 2.5e10
#define USUAL_MEMORY_RATE 1e12
#define USUAL_FLOPS_F32 2e13
#define USUAL_FLOPS_BF16 1e14
#define USUAL_FILE_RATE 2e9
#define USUAL_LATENCY 1e-5

int ballast_context_describe(char **json, ballast_context *context, ballast_error *err) {
    bl_turn turn;
    BL_NEED(json);
    *json = NULL;
    BL_NEED(context);
    int result = bl_turn_begin(&turn, context, NULL, __func__, err);
    if (result) {
        return result;
    }
    bl_device_caps caps = *bl_memory_caps(context->memory);
    bl_turn_end(&turn);
    json_t *o = json_pack(
        "{s:o, s:I, s:f, s:f, s:f, s:f, s:{s:f, s:f}, s:b}", "name", json_string(caps.name), "memory_bytes",
        (json_int_t)caps.memory_bytes, "copy_rate", caps.copy_rate > 0 ? caps.copy_rate : USUAL_COPY_RATE,
        "copy_latency", caps.copy_latency > 0 ? caps.copy_latency : USUAL_LATENCY, "copy_slowdown",
        caps.copy_slowdown, "memory_rate", USUAL_MEMORY_RATE, "flops", "f32", USUAL_FLOPS_F32, "bf16",
        USUAL_FLOPS_BF16, "shares_cores", caps.kind == BL_DEVICE_CPU);
    if (o && caps.host_store && caps.host_bytes) {
        json_object_set_new(o, "host_bytes", json_integer((json_int_t)caps.host_bytes));
        json_object_set_new(o, "file_rate", json_real(caps.file_rate > 0 ? caps.file_rate : USUAL_FILE_RATE));
        json_object_set_new(o, "file_latency",
                            json_real(caps.file_latency > 0 ? caps.file_latency : USUAL_LATENCY));
    }
    return o ? bl_json_text(json, o, err) : bl_fail_memory(err, "the device's description", 0);
}
