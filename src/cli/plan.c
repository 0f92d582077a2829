#include "cli/cli.h"

#include <stdio.h>

int command_plan(int argc, char **argv) {
    struct settings s;
    struct session session = {0};
    struct inputs in = {0};
    char *json = NULL, *text = NULL;
    ballast_plan_options po;
    ballast_plan_options_init(&po, sizeof po);
    ballast_error err = {0};
    ballast_generate_options o;
    int result = settings_load(&s, CMD_PLAN, 0, argc, argv);
    if (!result) {
        result = read_options(&o, &in, &s);
    }
    if (!result && setting_text(&s, S_SVG)) {
        result = check_output(&s, S_SVG, setting_text(&s, S_SVG));
    }
    if (!result) {
        result = open_session(&session, &s, NULL, NULL);
    }
    if (!result) {
        o.prompt = o.prompt ? o.prompt : "";
        po.compare = setting_on(&s, S_COMPARE);
        po.advise = setting_text(&s, S_ADVISE);
        po.sweep = setting_text(&s, S_SWEEP);
        po.svg_path = setting_text(&s, S_SVG);
        result = po.svg_path ? make_folders(&s, S_SVG, po.svg_path) : 0;
        if (!result && ballast_plan(&json, &text, session.model, &o, &po, &err)) {
            result = report_error(&s, &err);
        }
    }
    if (json) {
        tell_of_no_effect(&s);
        printf("%s\n", setting_on(&s, S_JSON) ? json : text);
    }
    ballast_string_free(&json);
    ballast_string_free(&text);
    close_session(&session);
    free_inputs(&in);
    settings_free(&s);
    return result;
}
