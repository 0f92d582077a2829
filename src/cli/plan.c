#include "cli/cli.h"

#include <stdio.h>

int command_plan(int argc, char **argv) {
    struct settings s;
    struct session session = {0};
    struct inputs in = {0};
    char *json = NULL;
    ballast_error err = {0};
    ballast_generate_options o;
    int result = settings_load(&s, CMD_PLAN, 0, argc, argv);
    if (!result) {
        result = read_options(&o, &in, &s);
    }
    if (!result) {
        result = open_session(&session, &s, NULL, NULL);
    }
    if (!result) {
        o.prompt = o.prompt ? o.prompt : "";
        if (ballast_plan(&json, session.model, &o, &err)) {
            result = report_error(&err);
        }
    }
    if (json) {
        printf("%s\n", json);
    }
    ballast_string_free(&json);
    close_session(&session);
    free_inputs(&in);
    settings_free(&s);
    return result;
}
