#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

static int on_progress(void *payload, const ballast_progress *p) {
    (void)payload, (void)p;
    return interrupted();
}

static void print_line(void *payload, const char *line) {
    (void)payload;
    puts(line);
    fflush(stdout); /* a table is read while it grows */
}

/* "90s", "3m", "1.5h", "45". */
static int read_time(double *seconds, const struct settings *s) {
    char *end;
    const char *text = setting_text(s, S_TIME);
    *seconds = strtod(text, &end);
    double unit = !strcmp(end, "h") ? 3600 : !strcmp(end, "m") ? 60 : !*end || !strcmp(end, "s") ? 1 : 0;
    *seconds *= unit;
    const bool decimal = strspn(text, "0123456789.hms") == strlen(text); /* strtod reads hex, too */
    return end != text && decimal && *seconds >= 1 && *seconds <= 86400
               ? 0
               : complain_of(s, S_TIME, "%.40s is no time from 1s to 24h; write 90s, 3m or 1h", text);
}

/* ---- what is kept */

static int print_kept(const char *json) {
    json_t *root = json_loads(json, 0, NULL), *entry;
    size_t i;
    if (!root) {
        return out_of_memory();
    }
    const json_t *list = json_object_get(root, "entries");
    if (!json_array_size(list)) {
        puts("nothing was tuned here; `ballast tune -m MODEL` does it");
    }
    json_array_foreach(list, i, entry) {
        double before = json_real_value(json_object_get(entry, "untuned_seconds")),
               after = json_real_value(json_object_get(entry, "seconds")),
               psnr = json_real_value(json_object_get(entry, "psnr"));
        printf("%s, %s, %s %s: %s, %.4f s -> %.4f s a pass (%+.1f%%)",
               json_string_value(json_object_get(entry, "model")),
               json_string_value(json_object_get(entry, "dtype")),
               json_string_value(json_object_get(entry, "module")),
               json_string_value(json_object_get(entry, "shape")),
               json_string_value(json_object_get(entry, "choices")), before, after,
               100 * (after / before - 1));
        if (psnr > 0) {
            printf(", PSNR of a pass %.0f dB", psnr);
        }
        if (json_is_true(json_object_get(entry, "on_trial"))) {
            fputs(", on trial: others used the machine meanwhile", stdout);
        }
        printf("\n    on %s, by Ballast %s\n", json_string_value(json_object_get(entry, "device")),
               json_string_value(json_object_get(entry, "version")));
    }
    json_decref(root);
    return 0;
}

/* A file that is complete or not there. */
static int write_kept(const struct settings *s, const char *path, const char *json) {
    char part[PATH_MAX];
    if (snprintf(part, sizeof part, "%s.%ld.part", path, (long)getpid()) >= (int)sizeof part) {
        return too_long(s, S_EXPORT, path);
    }
    FILE *f = fopen(part, "wxe");
    bool fine = f && fputs(json, f) >= 0 && fputc('\n', f) != EOF && !fflush(f);
    int why = errno;
    if (f && fclose(f) && fine) {
        fine = false;
        why = errno;
    }
    if (fine && rename(part, path)) {
        fine = false;
        why = errno;
    }
    if (!fine) {
        fprintf(stderr, "ballast: cannot write %s: %s\n", path, strerror(why));
    }
    if (f && !fine) {
        unlink(part);
    }
    return fine ? 0 : EXIT_OURS;
}

static int show(const struct settings *s, const struct session *session) {
    char *json = NULL;
    const char *path = setting_text(s, S_EXPORT);
    ballast_error err = {0};
    if (ballast_tuned(&json, session->context, &err)) {
        return report_error(s, &err);
    }
    int result = path ? make_folders(s, S_EXPORT, path) : 0;
    result = path && !result ? write_kept(s, path, json) : result;
    if (!result && setting_on(s, S_JSON)) {
        puts(json);
    } else if (!result && !path) {
        result = print_kept(json);
    }
    ballast_string_free(&json);
    return result;
}

static int forget(const struct settings *s, const struct session *session) {
    int count;
    ballast_error err = {0};
    const ballast_model *model = setting_text(s, S_MODEL) ? session->model : NULL;
    if (ballast_tuned_forget(&count, session->context, model, &err)) {
        return report_error(s, &err);
    }
    if (!setting_on(s, S_QUIET)) {
        printf("forgotten: %d\n", count);
    }
    return 0;
}

static int import(const struct settings *s, const struct session *session) {
    uint8_t *data;
    size_t bytes;
    int count = 0;
    ballast_error err = {0};
    const char *path = setting_text(s, S_IMPORT);
    int result = read_file(&data, &bytes, S_IMPORT, path, s);
    if (result) {
        return result;
    }
    char *text = malloc(bytes + 1);
    if (text) {
        memcpy(text, data, bytes);
        text[bytes] = 0;
    }
    free(data);
    if (!text) {
        return out_of_memory();
    }
    if (strlen(text) != bytes) {
        result = complain_of(s, S_IMPORT, "%.200s holds a zero byte, which text has not", path);
    } else if (ballast_tuned_import(&count, session->context, text, &err)) {
        result = report_error(s, &err);
    } else if (!setting_on(s, S_QUIET)) {
        printf("taken in: %d\n", count);
    }
    free(text);
    return result;
}

/* ---- measuring */

/* After Ctrl-C. */
static void tell_of_kept(const char *json) {
    json_t *root = json_loads(json, 0, NULL);
    const char *why = json_string_value(json_object_get(root, "not_kept"));
    if (why) {
        fprintf(stderr, "ballast: what was found until now is lost: %s\n", why);
    } else {
        fputs("ballast: what was found until now is kept\n", stderr);
    }
    json_decref(root);
}

static int tune(const struct settings *s, struct session *session, ballast_generate_options *o,
                double seconds) {
    char *json = NULL, *text = NULL;
    ballast_error err = {0};
    ballast_tune_options to;
    ballast_tune_options_init(&to, sizeof to);
    to.seconds = seconds;
    to.bits = setting_text(s, S_BITS);
    to.line = setting_on(s, S_JSON) || setting_on(s, S_QUIET) ? NULL : print_line;
    o->prompt = o->prompt ? o->prompt : "";
    o->progress = on_progress;
    catch_interrupt();
    int code = ballast_tune(&json, &text, session->model, o, &to, &err);
    if (json && setting_on(s, S_JSON)) {
        puts(json);
    } else if (text && !setting_on(s, S_QUIET)) {
        puts(text);
    }
    if (!code) {
        tell_of_no_effect(s);
    } else if (json && code == BALLAST_E_CANCELLED && !setting_on(s, S_QUIET)) {
        tell_of_kept(json);
    }
    ballast_string_free(&json);
    ballast_string_free(&text);
    return code ? report_error(s, &err) : 0;
}

/* Of what is kept one thing at a time: who wants to see it does not want it forgotten. */
static int check_alone(const struct settings *s) {
    static const struct {
        enum setting_id id;
        const char *name;
    } all[] = {{S_SHOW, "--show"}, {S_FORGET, "--forget"}, {S_EXPORT, "--export"}, {S_IMPORT, "--import"}};
    const char *first = NULL;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const bool given = i < 2 ? setting_on(s, all[i].id) : setting_text(s, all[i].id) != NULL;
        if (given && first) {
            return complain_of(s, all[i].id, "not beside %s: one after the other, in two commands", first);
        }
        first = given ? all[i].name : first;
    }
    return 0;
}

/* Whether it measures, or has to know which model is meant. */
static bool wants_model(const struct settings *s) {
    const bool kept = setting_text(s, S_IMPORT) || setting_text(s, S_EXPORT) || setting_on(s, S_SHOW);
    return !kept && (!setting_on(s, S_FORGET) || setting_text(s, S_MODEL));
}

int command_tune(int argc, char **argv) {
    struct settings s;
    struct session session = {0};
    struct inputs in = {0};
    double seconds = 0;
    ballast_generate_options o;
    int result = settings_load(&s, CMD_TUNE, 0, argc, argv);
    const char *path = result ? NULL : setting_text(&s, S_EXPORT);
    if (!result) {
        result = read_time(&seconds, &s);
    }
    if (!result) {
        result = check_alone(&s);
    }
    if (!result) {
        result = read_options(&o, &in, &s);
    }
    if (!result && path) {
        result = check_output(&s, S_EXPORT, path);
    }
    if (!result) {
        result = wants_model(&s) ? open_session(&session, &s, NULL, NULL) : open_context(&session, &s, NULL);
    }
    if (!result) {
        session.log_level = session.log_level == BALLAST_LOG_INFO ? BALLAST_LOG_WARNING : session.log_level;
        result = setting_text(&s, S_IMPORT)       ? import(&s, &session)
                 : setting_on(&s, S_FORGET)       ? forget(&s, &session)
                 : path || setting_on(&s, S_SHOW) ? show(&s, &session)
                                                  : tune(&s, &session, &o, seconds);
    }
    close_session(&session);
    free_inputs(&in);
    settings_free(&s);
    return result;
}
