#include "api/api.h"

#include "core/json_text.h"
#include "core/parallel.h"
#include "core/size_text.h"
#include "device/open/open.h"

#include <stdio.h>
#include <string.h>

#define MOST_CARDS 16

/* "25.1 GB, 14.3 GB free, 312 MB the driver's own; f32, bf16; auto takes bf16; copies at 25.2 GB a second" */
static json_t *text_of(const bl_device_caps *caps) {
    char own[48] = "", copies[48] = "";
    if (caps->own_bytes) {
        snprintf(own, sizeof own, ", %s the driver's own", bl_size_of(caps->own_bytes).text);
    }
    if (caps->copy_rate > 0) {
        snprintf(copies, sizeof copies, "; copies at %s a second",
                 bl_size_of((uint64_t)caps->copy_rate).text);
    }
    return json_sprintf("%s, %s free%s; %s%s%s; auto takes %s%s", bl_size_of(caps->memory_bytes).text,
                        bl_size_of(caps->free_bytes).text, own, caps->f32 ? "f32" : "",
                        caps->f32 && caps->bf16 ? ", " : "", caps->bf16 ? "bf16" : "",
                        caps->bf16_fast ? "bf16" : "f32", copies);
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
    json_t *o = json_pack("{s:s, s:o, s:I, s:I, s:I, s:f, s:o, s:s, s:b, s:o}", "device", name, "name",
                          json_string(caps.name), "memory_bytes", (json_int_t)caps.memory_bytes, "free_bytes",
                          (json_int_t)caps.free_bytes, "own_bytes", (json_int_t)caps.own_bytes, "copy_rate",
                          caps.copy_rate, "dtypes", dtypes, "auto_dtype", caps.bf16_fast ? "bf16" : "f32",
                          "host_store", caps.host_store, "text", text_of(&caps));
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
