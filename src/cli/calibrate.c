#include "cli/cli.h"

#include <stdio.h>

static int on_progress(void *payload, const ballast_progress *p) {
    progress_bar_show(payload, p);
    return interrupted();
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
        o.prompt = o.prompt ? o.prompt : "";
        o.progress = on_progress;
        o.payload = &bar;
        int code = ballast_calibrate(session.model, &o, &err);
        progress_bar_clear(&bar);
        result = code ? report_error(&s, &err) : 0;
        if (!result) {
            tell_of_no_effect(&s);
        }
    }
    close_session(&session);
    free_inputs(&in);
    settings_free(&s);
    return result;
}
