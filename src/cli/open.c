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

/* A file that comes with Ballast: in ../share/ballast seen from the program, which is where it is installed
 * and what a build folder has links for. */
static bool find_shipped(char *path, size_t size, const char *name) {
    char program[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n <= 0) {
        return false;
    }
    program[n] = 0;
    char *slash = strrchr(program, '/');
    if (slash) {
        *slash = 0;
    }
    int length = snprintf(path, size, "%s/../share/ballast/%s", program, name);
    return length > 0 && (size_t)length < size && !access(path, R_OK);
}

static int find_embedded(char *path, size_t size) {
    if (find_shipped(path, size, "ballast-mini.safetensors")) {
        return 0;
    }
    fprintf(stderr,
            "ballast: --model: none given, and the embedded model (ballast-mini.safetensors) is not here; "
            "give a .safetensors file or a diffusers folder\n");
    return EXIT_USAGE;
}

char *embedded_folder(void) {
    char path[PATH_MAX], real[PATH_MAX];
    if (find_embedded(path, sizeof path) || !realpath(path, real)) {
        return NULL;
    }
    *strrchr(real, '/') = 0;
    return strdup(real);
}

/* "cpu", "sim:FILE", or "sim:CARD" for one of the cards that come with Ballast, which becomes its file. */
static int find_device(char *device, size_t size, const struct settings *s) {
    const char *name = setting_text(s, S_DEVICE);
    char card[128], path[PATH_MAX + 160];
    bool sim = !strncmp(name, "sim:", 4);
    snprintf(card, sizeof card, "devices/%.64s.json", name);
    if (!sim && !strpbrk(name, "/.") && find_shipped(path, sizeof path, card)) {
        return complain_of(s, S_DEVICE, "\"%s\" is a described card, for plans alone: write sim:%s", name,
                           name);
    }
    if (!sim || strpbrk(name, "/.")) {
        return snprintf(device, size, "%s", name) < (int)size ? 0 : EXIT_USAGE;
    }
    snprintf(card, sizeof card, "devices/%.64s.json", name + 4);
    if (find_shipped(path, sizeof path, card)) {
        return snprintf(device, size, "sim:%s", path) < (int)size ? 0 : EXIT_USAGE;
    }
    return complain_of(s, S_DEVICE,
                       "no card \"%s\"; there are h200, rtx3060-12gb, rtx3090, rtx4060-laptop, "
                       "rtx4060-laptop-16gb, rtx4060ti-16gb, rtx4090, rtx5090, or "
                       "sim:FILE.json of your own",
                       name + 4);
}

static int log_level_of(const struct settings *s) {
    const char *debug = getenv("BALLAST_MOVE_DEBUG");
    if (debug && *debug && strcmp(debug, "0") != 0) {
        return BALLAST_LOG_DEBUG;
    }
    return setting_on(s, S_QUIET) ? -1 : BALLAST_LOG_INFO;
}

int open_context(struct session *out, const struct settings *s, struct progress_bar *bar) {
    ballast_error err = {0};
    *out = (struct session){.log_level = log_level_of(s), .bar = bar};
    char device[PATH_MAX + 200] = "cpu"; /* where --device is no flag */
    int found = setting_text(s, S_DEVICE) ? find_device(device, sizeof device, s) : 0;
    if (found) {
        return found;
    }
    ballast_context_options co;
    ballast_context_options_init(&co, sizeof co);
    co.device = device;
    co.threads = setting_int(s, S_THREADS);
    co.isa = setting_text(s, S_ISA);
    co.text_cache = setting_text(s, S_TEXT_CACHE) ? (size_t)setting_int(s, S_TEXT_CACHE) : co.text_cache;
    co.log = log_line;
    co.log_payload = out;
    return ballast_context_open(&out->context, &co, &err) ? report_error(s, &err) : 0;
}

int open_session(struct session *out, const struct settings *s, const char *path, struct progress_bar *bar) {
    char embedded[PATH_MAX + 64];
    ballast_error err = {0};
    *out = (struct session){0};
    path = path ? path : setting_text(s, S_MODEL);
    int opened = path ? 0 : find_embedded(embedded, sizeof embedded);
    opened = opened ? opened : open_context(out, s, bar);
    if (opened) {
        return opened;
    }
    path = path ? path : embedded;
    ballast_model_options mo;
    ballast_model_options_init(&mo, sizeof mo);
    mo.path = path;
    mo.vae_path = setting_text(s, S_VAE);
    mo.taesd_path = setting_text(s, S_TAESD);
    mo.dtype = setting_text(s, S_DTYPE);
    mo.vae_dtype = setting_text(s, S_VAE_DTYPE);
    mo.prediction = setting_text(s, S_PREDICTION);
    mo.zsnr = !setting_text(s, S_ZSNR) ? "auto" : setting_on(s, S_ZSNR) ? "on" : "off";
    const char **encoders = setting_files(s, S_TEXT_ENCODER);
    if (!encoders) {
        return out_of_memory();
    }
    mo.text_encoder_paths = encoders;
    while (encoders[mo.text_encoder_count]) {
        mo.text_encoder_count++;
    }
    int result = ballast_model_open(&out->model, out->context, &mo, &err);
    free(encoders);
    return result ? report_error(s, &err) : 0;
}

void close_session(struct session *session) {
    ballast_model_close(&session->model);
    ballast_context_close(&session->context);
}
