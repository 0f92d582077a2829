#include "cli/cli.h"

#include <stdio.h>

int command_plan(int argc, char **argv) {
    struct settings s;
    ballast_context *context = NULL;
    ballast_model *model = NULL;
    char *json = NULL;
    ballast_error err = {0};
    ballast_generate_options o;
    int result = settings_load(&s, CMD_PLAN, 0, argc, argv);
    if (!result) {
        result = open_model(&context, &model, &s, NULL);
    }
    if (!result) {
        fill_generate_options(&o, &s);
        o.prompt = o.prompt ? o.prompt : "";
        if (ballast_plan(&json, model, &o, &err)) {
            result = report_error(&err);
        }
    }
    if (json) {
        printf("%s\n", json);
    }
    ballast_string_free(&json);
    ballast_model_close(&model);
    ballast_context_close(&context);
    settings_free(&s);
    return result;
}
