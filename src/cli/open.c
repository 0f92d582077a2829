#include "cli/cli.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void log_line(void *payload, int level, const char *line) {
    const struct session *session = payload;
    if (level <= session->log_level) {
        if (session->bar) {
            progress_bar_clear(session->bar);
        }
        fprintf(stderr, "%s%s\n", level == BALLAST_LOG_WARNING ? "ballast: " : "", line);
    }
}

/* The embedded model: beside the program in a build tree, or where it was installed. */
static int find_embedded(char *path, size_t size) {
    static const char *const places[] = {"../models/ballast-mini.safetensors",
                                         "../../models/ballast-mini.safetensors",
                                         "../share/ballast/ballast-mini.safetensors"};
    char program[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n > 0) {
        program[n] = 0;
        char *slash = strrchr(program, '/');
        if (slash) {
            *slash = 0;
        }
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            int length = snprintf(path, size, "%s/%s", program, places[i]);
            if (length > 0 && (size_t)length < size && !access(path, R_OK)) {
                return 0;
            }
        }
    }
    fprintf(stderr,
            "ballast: --model: none given, and the embedded model (ballast-mini.safetensors) is not here; "
            "give a .safetensors file or a diffusers folder\n");
    return EXIT_USAGE;
}

static int log_level_of(const struct settings *s) {
    const char *debug = getenv("BALLAST_MOVE_DEBUG");
    if (debug && *debug && strcmp(debug, "0") != 0) {
        return BALLAST_LOG_DEBUG;
    }
    return setting_on(s, S_QUIET) ? -1 : setting_on(s, S_VERBOSE) ? BALLAST_LOG_INFO : BALLAST_LOG_WARNING;
}

int open_session(struct session *out, const struct settings *s, const char *path, struct progress_bar *bar) {
    char embedded[PATH_MAX + 64];
    ballast_error err = {0};
    *out = (struct session){.log_level = log_level_of(s), .bar = bar};
    path = path ? path : setting_text(s, S_MODEL);
    if (!path) {
        int result = find_embedded(embedded, sizeof embedded);
        if (result) {
            return result;
        }
        path = embedded;
    }
    ballast_context_options co = BALLAST_CONTEXT_OPTIONS_INIT;
    co.threads = setting_int(s, S_THREADS);
    co.isa = setting_text(s, S_ISA);
    co.log = log_line;
    co.log_payload = out;
    if (ballast_context_open(&out->context, &co, &err)) {
        return report_error(&err);
    }
    ballast_model_options mo = BALLAST_MODEL_OPTIONS_INIT;
    mo.path = path;
    mo.vae_path = setting_text(s, S_VAE);
    mo.dtype = setting_text(s, S_DTYPE);
    mo.vae_dtype = setting_text(s, S_VAE_DTYPE);
    mo.prediction = setting_text(s, S_PREDICTION);
    if (ballast_model_open(&out->model, out->context, &mo, &err)) {
        return report_error(&err);
    }
    return 0;
}

void close_session(struct session *session) {
    ballast_model_close(&session->model);
    ballast_context_close(&session->context);
}
