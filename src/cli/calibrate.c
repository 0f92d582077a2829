#include "cli/cli.h"

#include <stdio.h>

#include <jansson.h>

/* What is measured is no picture of anybody's. */
static int on_progress(void *payload, const ballast_progress *p) {
    ballast_progress shown = *p;
    shown.images = 1;
    progress_bar_show(payload, &shown);
    return interrupted();
}

/* What the measurements say of the request, which is the plan that is made of them from now on. */
static int print_result(const struct settings *s, struct session *session,
                        const ballast_generate_options *o) {
    char *json = NULL;
    ballast_error err = {0};
    ballast_plan_options po;
    ballast_plan_options_init(&po, sizeof po);
    if (ballast_plan(&json, NULL, session->model, o, &po, &err)) {
        return report_error(s, &err);
    }
    json_t *plan = json_loads(json, 0, NULL);
    if (plan && setting_on(s, S_JSON)) {
        printf("%s\n", json);
    } else if (plan && !setting_on(s, S_QUIET)) {
        printf("measured %d phases: a picture with these settings takes %.2f s, with nothing loaded yet %.2f "
               "s\n",
               (int)json_integer_value(json_object_get(plan, "phases_measured")),
               json_real_value(json_object_get(plan, "seconds")),
               json_real_value(json_object_get(plan, "first_seconds")));
    }
    int result = plan ? 0 : out_of_memory();
    json_decref(plan);
    ballast_string_free(&json);
    return result;
}

int command_calibrate(int argc, char **argv) {
    struct settings s;
    struct session session = {0};
    struct inputs in = {0};
    struct progress_bar bar;
    ballast_error err = {0};
    ballast_generate_options o;
    int result = settings_load(&s, CMD_CALIBRATE, 0, argc, argv);
    if (!result) {
        result = read_options(&o, &in, &s);
    }
    progress_bar_open(&bar, setting_on(&s, S_QUIET), 1);
    if (!result) {
        result = open_session(&session, &s, NULL, &bar);
    }
    if (!result) {
        catch_interrupt();
        session.log_level = session.log_level == BALLAST_LOG_INFO ? BALLAST_LOG_WARNING : session.log_level;
        o.prompt = o.prompt ? o.prompt : "";
        o.progress = on_progress;
        o.payload = &bar;
        int code = ballast_calibrate(session.model, &o, &err);
        progress_bar_clear(&bar);
        result = code ? report_error(&s, &err) : 0;
        if (!result) {
            tell_of_no_effect(&s);
            o.count = 2; /* the plan of a picture that follows another */
            result = print_result(&s, &session, &o);
        }
    }
    close_session(&session);
    free_inputs(&in);
    settings_free(&s);
    return result;
}
