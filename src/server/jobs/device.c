/* The device's context and the checkpoints that are open on it. */
#include "server/jobs/internal.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void add_warning(json_t *list, const char *line) {
    char text[1024];
    snprintf(text, sizeof text, "%s", line);
    text_mend(text);
    json_array_append_new(list, json_string(text));
}

/* The library's lines: what it warns of during a job belongs to the job's answer, too; of a plan's, that is
 * asked for at each letter of a prompt, to the answer alone. */
static void on_log(void *payload, int level, const char *line) {
    struct jobs *j = payload;
    if (level == BALLAST_LOG_WARNING) {
        if (j->warnings) {
            add_warning(j->warnings, line);
        }
        if (!j->plans) {
            j->options.log(line);
        }
    }
}

/* Of the context that only plans. */
static void on_plan_log(void *payload, int level, const char *line) {
    struct jobs *j = payload;
    if (level == BALLAST_LOG_WARNING && j->plan_warnings) {
        add_warning(j->plan_warnings, line);
    }
}

static int open_context(struct jobs *j, ballast_context **out, const char *device,
                        void (*log)(void *payload, int level, const char *line), struct problem *p) {
    ballast_context_options o;
    ballast_error err = {0};
    ballast_context_options_init(&o, sizeof o);
    o.threads = j->options.threads;
    o.isa = j->options.isa;
    o.text_cache = j->options.text_cache;
    o.device = device ? device : o.device;
    o.log = log;
    o.log_payload = j;
    return ballast_context_open(out, &o, &err) ? problem_set(p, 500, NULL, "%s", err.message) : 0;
}

/* A card is not opened twice: what is planned beside its work is planned on its description. */
static int describe(struct jobs *j, struct problem *p) {
    const char *device = j->options.device;
    char *text = NULL;
    ballast_error err = {0};
    if (j->described || !device || !strcmp(device, "cpu") || !strncmp(device, "sim:", 4)) {
        return 0;
    }
    if (ballast_context_describe(&text, j->context, &err)) {
        return problem_set(p, 500, NULL, "%s", err.message);
    }
    size_t bytes = strlen(text);
    int file = memfd_create("device", MFD_CLOEXEC);
    bool good = file > 0 && write(file, text, bytes) == (ssize_t)bytes;
    ballast_string_free(&text);
    j->described = file;
    return good ? 0 : problem_set(p, 500, NULL, "the device's description cannot be kept");
}

int device_open(struct jobs *j, struct problem *p) {
    int status = open_context(j, &j->context, j->options.device, on_log, p);
    j->placed = true;
    status = status ? status : describe(j, p);
    return status ? status : placement_apply(j, j->context, p);
}

int device_context(struct jobs *j, ballast_context **out, struct problem *p) {
    char path[64];
    snprintf(path, sizeof path, "sim:/proc/self/fd/%d", j->described);
    return open_context(j, out, j->described > 0 ? path : j->options.device, on_plan_log, p);
}

static void close_one(struct jobs *j, int i) {
    ballast_model_close(&j->open[i].model);
    free(j->open[i].title);
    free(j->open[i].vae);
    j->open[i] = j->open[--j->open_count];
    j->open[j->open_count] = (struct open_model){0};
}

void device_close(struct jobs *j) {
    while (j->open_count) {
        close_one(j, 0);
    }
    ballast_context_close(&j->context);
}

int device_again(struct jobs *j, struct problem *p) {
    if (!pthread_mutex_trylock(&j->task_lock)) { /* who has it waits for us */
        plan_close(j);
        pthread_mutex_unlock(&j->task_lock);
    }
    device_close(j);
    int status = device_open(j, p);
    j->device_failed = status;
    j->options.log(status ? p->text : "the device gave up: it was opened again");
    return status;
}

static bool same(const char *a, const char *b) {
    return a && b ? !strcmp(a, b) : a == b;
}

int status_of(int code) {
    switch (code) {
    case BALLAST_E_ARGUMENT:
    case BALLAST_E_UNSUPPORTED:
    case BALLAST_E_BUDGET:
        return 422;
    case BALLAST_E_NOT_FOUND:
        return 404;
    case BALLAST_E_MEMORY:
        return 503;
    case BALLAST_E_IO:
        return 507;
    default:
        return 500;
    }
}

int status_of_request(int code) {
    return code == BALLAST_E_NOT_FOUND ? 422 : status_of(code);
}

int refuse_request(struct problem *p, int status, const ballast_error *err) {
    static const char *const flags[] = {"--decode ", "--tiled-decode "};
    char text[sizeof err->message], *at;
    snprintf(text, sizeof text, "%s", err->message);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        while ((at = strstr(text, flags[i]))) {
            memmove(at, at + 2, strlen(at + 2) + 1);
            for (; *at != ' '; at++) {
                *at = *at == '-' ? '_' : *at;
            }
        }
    }
    return problem_set(p, status, NULL, "%s", text);
}

/* A folder of them may have none for its family. */
static bool has_taesd(ballast_model *model) {
    char *text = NULL;
    bool has = false;
    if (!ballast_model_inspect(&text, model, 0, 0, NULL)) {
        json_t *report = json_loads(text, 0, NULL);
        has = json_object_get(json_object_get(report, "modules"), "taesd") != NULL;
        json_decref(report);
    }
    ballast_string_free(&text);
    return has;
}

int device_open_model(struct jobs *j, ballast_context *context, struct open_model *out, struct problem *p) {
    char *path = catalogue_path(j, out->title, false),
         *vae_path = out->vae ? catalogue_path(j, out->vae, true) : NULL;
    ballast_model_options o;
    ballast_error err = {0};
    int status = 0;
    ballast_model_options_init(&o, sizeof o);
    o.path = path;
    o.vae_path = vae_path;
    o.dtype = j->options.dtype ? j->options.dtype : o.dtype;
    o.vae_dtype = j->options.vae_dtype;
    o.taesd_path = j->options.taesd;
    if (!path || (out->vae && !vae_path)) {
        status = problem_set(p, 404, path ? "sd_vae" : "sd_model_checkpoint",
                             "%s is not in the models' folder any more", path ? out->vae : out->title);
    } else {
        int code = ballast_model_open(&out->model, context, &o, &err);
        status = code ? problem_set(p, status_of(code), NULL, "%s", err.message) : 0;
    }
    out->taesd = !status && o.taesd_path && has_taesd(out->model);
    free(path);
    free(vae_path);
    return status;
}

bool device_has_room(const struct jobs *j, const char *title, const char *vae) {
    for (int i = 0; i < j->open_count; i++) {
        if (same(j->open[i].title, title) && same(j->open[i].vae, vae)) {
            return true;
        }
    }
    return j->open_count < MOST_OPEN;
}

bool device_has_taesd(const struct jobs *j, const ballast_model *model) {
    bool has = false;
    for (int i = 0; i < j->open_count; i++) {
        has = has || (j->open[i].model == model && j->open[i].taesd);
    }
    return has;
}

void fill_previews(ballast_generate_options *o, const struct jobs *j, bool taesd) {
    const char *asked = j->options.previews;
    o->previews = asked && !strcmp(asked, "taesd") && !taesd ? "linear" : asked;
    o->preview_every = j->options.preview_every ? (size_t)j->options.preview_every : 1;
}

int device_model(struct jobs *j, ballast_model **out, const char *title, const char *vae, struct problem *p) {
    *out = NULL;
    int opened = j->device_failed ? device_again(j, p) : 0;
    if (opened) {
        return opened;
    }
    for (int i = 0; i < j->open_count; i++) {
        if (same(j->open[i].title, title) && same(j->open[i].vae, vae)) {
            j->open[i].used = j->jobs_done;
            *out = j->open[i].model;
            return 0;
        }
    }
    if (j->open_count == MOST_OPEN) {
        int oldest = 0;
        for (int i = 1; i < j->open_count; i++) {
            oldest = j->open[i].used < j->open[oldest].used ? i : oldest;
        }
        close_one(j, oldest);
    }
    struct open_model fresh = {.title = strdup(title), .vae = vae ? strdup(vae) : NULL, .used = j->jobs_done};
    int status = !fresh.title || (vae && !fresh.vae) ? problem_set(p, 503, NULL, "out of memory")
                                                     : device_open_model(j, j->context, &fresh, p);
    if (status) {
        free(fresh.title);
        free(fresh.vae);
        return status;
    }
    j->open[j->open_count++] = fresh;
    *out = fresh.model;
    return 0;
}

void device_rest(struct jobs *j) {
    for (int i = 0; i < j->open_count; i++) {
        char *text = NULL;
        if (!ballast_model_residency(&text, j->open[i].model, NULL)) {
            json_t *object = json_loads(text, 0, NULL);
            double bytes = json_number_value(json_object_get(object, "resident_bytes"));
            j->open[i].released = bytes > j->open[i].released ? bytes : j->open[i].released;
            json_decref(object);
        }
        ballast_string_free(&text);
    }
    device_unload(j);
}

double device_rested(struct jobs *j, const ballast_model *model) {
    double bytes = 0;
    for (int i = 0; i < j->open_count; i++) {
        if (j->open[i].model == model) {
            bytes = j->open[i].released;
            j->open[i].released = 0;
        }
    }
    return bytes;
}

int device_unload(struct jobs *j) {
    int result = 0;
    for (int i = 0; i < j->open_count; i++) {
        result |= ballast_model_release(j->open[i].model, NULL);
    }
    malloc_trim(0);
    return result;
}
