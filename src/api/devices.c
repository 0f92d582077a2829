#include "api/api.h"

#include "core/json_text.h"
#include "core/parallel.h"
#include "device/open/open.h"

#include <stdio.h>
#include <string.h>

#define MOST_CARDS 16

/* Takes the device over. */
static json_t *describe(bl_device *d, const char *name) {
    bl_device_caps caps = bl_device_caps_of(d);
    json_t *dtypes = json_array();
    if (caps.f32) {
        json_array_append_new(dtypes, json_string("f32"));
    }
    if (caps.bf16) {
        json_array_append_new(dtypes, json_string("bf16"));
    }
    json_t *o = json_pack("{s:s, s:o, s:I, s:I, s:o, s:s, s:b}", "device", name, "name",
                          json_string(caps.name), "memory_bytes", (json_int_t)caps.memory_bytes, "free_bytes",
                          (json_int_t)caps.free_bytes, "dtypes", dtypes, "auto_dtype",
                          caps.bf16_fast ? "bf16" : "f32", "host_store", caps.host_store);
    bl_device_close(&d);
    return o;
}

/* Appends it, or why there is none. Whether there is one. */
static bool add_device(json_t *list, const char *name, const bl_cpu_options *cpu, bool tell) {
    bl_device *d = NULL;
    bl_error err = {0};
    if (!bl_device_open(&d, name, cpu, &err)) {
        json_array_append_new(list, describe(d, name));
        return true;
    }
    if (tell) {
        json_array_append_new(list,
                              json_pack("{s:s, s:o}", "device", name, "error", json_string(err.message)));
    }
    return false;
}

int ballast_devices(char **json, ballast_error *err) {
    BL_NEED(json);
    *json = NULL;
    const bl_cpu_options cpu = {.threads = bl_usable_cores()};
    json_t *list = json_array();
    if (!list) {
        return bl_fail_memory(err, "the list of devices", 0);
    }
    add_device(list, "cpu", &cpu, true);
    for (int i = 0; i < MOST_CARDS; i++) {
        char name[32] = "cuda";
        if (i) {
            snprintf(name, sizeof name, "cuda:%d", i);
        }
        if (!add_device(list, name, &cpu, !i)) {
            break;
        }
    }
    return bl_json_text(json, list, err);
}
