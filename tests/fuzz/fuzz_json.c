/* Any bytes as a model's configuration: the JSON of a diffusers folder, the YAML beside a file. */
#include "fuzz.h"

#include "checkpoint/json.h"
#include "checkpoint/yaml.h"
#include "core/json_text.h"

static void read_yaml(const uint8_t *data, size_t size) {
    static const char *const paths[] = {"model.params.parameterization", "model.params.linear_start", "a",
                                        "a.b.c"};
    char *text = text_of(data, size), value[64];
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        if (bl_yaml_find(value, sizeof value, text, size, paths[i])) {
            MUST(memchr(value, 0, sizeof value));
        }
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bl_error err = {.code = 0};
    char *text = text_of(data, size);
    json_t *root = NULL;
    json_error_t why = {0};
    json_t *strict = json_loadb(text, size, 0, &why);
    MUST(strict ? bl_json_well_formed(text, size) : !bl_json_lacked_memory(&why, text, size));
    int rc = bl_json_parse(&root, text, size, "fuzz", &err);
    MUST(rc ? !root && rc == BL_E_FORMAT && err.message[0] : json_is_object(root));
    MUST(!json_is_object(strict) || !rc); /* what is JSON is read */
    if (!rc) {
        char *again = bl_json_dump(root, JSON_COMPACT);
        MUST(again && bl_json_well_formed(again, strlen(again)));
        free(again);
    }
    json_decref(strict);
    json_decref(root);
    free(text);
    read_yaml(data, size);
    return 0;
}
