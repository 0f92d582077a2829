/* `ballast devices`: what could compute here, and what is missing where something cannot. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

static void print_device(const json_t *device) {
    const char *name = json_string_value(json_object_get(device, "device"));
    const char *error = json_string_value(json_object_get(device, "error"));
    if (error) {
        printf("%-7s not here: %s\n", name, error + (strncmp(error, "cuda: ", 6) ? 0 : 6));
        return;
    }
    printf("%-7s %s\n        %s\n", name, json_string_value(json_object_get(device, "name")),
           json_string_value(json_object_get(device, "text")));
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
