/* `ballast devices`: what could compute here, and what is missing where something cannot. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

static double gigabytes(const json_t *device, const char *name) {
    return (double)json_integer_value(json_object_get(device, name)) * 1e-9;
}

static void print_device(const json_t *device) {
    const char *name = json_string_value(json_object_get(device, "device"));
    const char *error = json_string_value(json_object_get(device, "error"));
    const json_t *dtypes = json_object_get(device, "dtypes");
    size_t i;
    json_t *dtype;
    if (error) {
        printf("%-7s not here: %s\n", name, error + (strncmp(error, "cuda: ", 6) ? 0 : 6));
        return;
    }
    printf("%-7s %s\n        %.2f GB, %.2f free;", name, json_string_value(json_object_get(device, "name")),
           gigabytes(device, "memory_bytes"), gigabytes(device, "free_bytes"));
    json_array_foreach(dtypes, i, dtype) {
        printf(" %s", json_string_value(dtype));
    }
    printf("; auto takes %s\n", json_string_value(json_object_get(device, "auto_dtype")));
}

int command_devices(int argc, char **argv) {
    struct settings s;
    ballast_error err = {0};
    char *text = NULL;
    int result = settings_load(&s, CMD_DEVICES, 0, argc, argv);
    if (!result && ballast_devices(&text, &err)) {
        result = report_error(&s, &err);
    }
    if (!result && setting_on(&s, S_JSON)) {
        puts(text);
    } else if (!result) {
        json_t *list = json_loads(text, 0, NULL), *device;
        size_t i;
        json_array_foreach(list, i, device) {
            print_device(device);
        }
        json_decref(list);
    }
    ballast_string_free(&text);
    settings_free(&s);
    return result;
}
