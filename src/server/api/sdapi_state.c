/* Options, progress, and what stops or empties. Every answer has a body that is JSON: clients parse them all.
 */
#include "server/api/handlers.h"
#include "server/api/sdapi.h"

#include "server/base/base64.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define ETA_SECONDS 0.25 /* that a time left may be told again */

static char *kept(struct api *api, const char *key) {
    char *value = NULL;
    api->service.get_setting(api->service.self, key, &value, NULL);
    return value;
}

static int kept_number(struct api *api, const char *key, int fallback) {
    char *value = kept(api, key);
    int number = value ? (int)strtol(value, NULL, 10) : fallback;
    free(value);
    return number;
}

/* Keeps a number that the body holds. 0, or a status and *p. */
static int keep_number(struct call *c, const char *key, int number, struct problem *p) {
    char text[16];
    const json_t *given = json_object_get(c->body, key);
    snprintf(text, sizeof text, "%d", number);
    return given && !json_is_null(given) ? c->api->service.set_setting(c->api->service.self, key, text, p)
                                         : 0;
}

void sd_get_options(struct call *c) {
    struct api *api = c->api;
    char *model = sd_current_model(api), *vae = kept(api, "sd_vae"), *rng = kept(api, "randn_source"),
         *format = kept(api, "samples_format"), *decode = kept(api, "sd_vae_decode_method");
    json_t *o = json_pack(
        "{s:s, s:n, s:s, s:s, s:s, s:i, s:s, s:b, s:b, s:b, s:s, s:b, s:i, s:i, s:b, s:i}",
        "sd_model_checkpoint", model ? model : "", "sd_checkpoint_hash", "sd_vae", vae ? vae : "Automatic",
        "samples_format", format ? format : "png", "sd_vae_decode_method",
        decode && api->options.taesd ? decode : "Full", "CLIP_stop_at_last_layers",
        kept_number(api, "CLIP_stop_at_last_layers", 1), "randn_source", rng ? rng : "CPU", "samples_save", 1,
        "enable_pnginfo", 1, "send_seed", 1, "outdir_samples", "", "live_previews_enable", 1,
        "show_progress_every_n_steps", 1, "eta_noise_seed_delta", kept_number(api, "eta_noise_seed_delta", 0),
        "pad_cond_uncond", kept_number(api, "pad_cond_uncond", 0), "comma_padding_backtrack", 20);
    free(model);
    free(vae);
    free(rng);
    free(format);
    free(decode);
    reply_json(c->x, 200, o);
}

void sd_set_options(struct call *c) {
    struct api *api = c->api;
    struct sd_settings s = {0};
    struct problem p = {0};
    char *title = NULL;
    int status = fields_read(&s, sd_setting_fields, c->body, NULL, &p);
    if (!status && s.checkpoint && *s.checkpoint) {
        status = api->service.find_model(api->service.self, s.checkpoint, &title, &p);
    }
    status = status ? status : sd_check_vae(api, s.vae, &p);
    status = status ? status : sd_check_rng(s.randn_source, &p);
    status = status ? status : sd_check_format(s.samples_format, &p);
    status = status ? status : sd_check_decode_method(api, s.decode_method, &p);
    if (!status && s.samples_format && *s.samples_format) {
        status = api->service.set_setting(api->service.self, "samples_format", s.samples_format, &p);
    }
    if (!status && title) {
        status = api->service.set_setting(api->service.self, "sd_model_checkpoint", title, &p);
    }
    if (!status && s.vae) {
        status = api->service.set_setting(api->service.self, "sd_vae", s.vae, &p);
    }
    if (!status && s.randn_source) {
        status = api->service.set_setting(api->service.self, "randn_source", s.randn_source, &p);
    }
    if (!status && s.decode_method && *s.decode_method) {
        status = api->service.set_setting(api->service.self, "sd_vae_decode_method", s.decode_method, &p);
    }
    status = status ? status : keep_number(c, "CLIP_stop_at_last_layers", s.clip_skip, &p);
    status = status ? status : keep_number(c, "eta_noise_seed_delta", s.ensd, &p);
    status = status ? status : keep_number(c, "pad_cond_uncond", s.pad_conds, &p);
    free(title);
    if (status) {
        reply_problem(c->x, &p);
    } else {
        reply_json(c->x, 200, json_null());
    }
}

void sd_progress(struct call *c) {
    struct api *api = c->api;
    struct progress now;
    char *png = NULL, *text = NULL, stamp[24] = "0", job[48] = "";
    size_t bytes = 0;
    const char *skip = exchange_query(c->x, "skip_current_image");
    api->service.progress(api->service.self, &now);
    bool runs = now.job[0];
    if (runs && !(skip && (!strcasecmp(skip, "true") || !strcmp(skip, "1")))) {
        api->service.preview(api->service.self, now.job, &png, &bytes);
        text = png ? base64_encode(png, bytes) : NULL;
    }
    if (runs) {
        time_t started = (time_t)now.started;
        struct tm tm;
        localtime_r(&started, &tm);
        strftime(stamp, sizeof stamp, "%Y%m%d%H%M%S", &tm);
        snprintf(job, sizeof job, "Batch %d out of %d", now.image + 1, now.images ? now.images : 1);
    }
    double fraction = runs ? (now.fraction > 0.01 ? now.fraction : 0.01) : 0;
    double left = runs && now.fraction > 0.01 ? now.seconds / now.fraction - now.seconds : 0;
    reply_held(
        c, true, ETA_SECONDS,
        json_pack("{s:f, s:f, s:{s:b, s:b, s:b, s:s, s:i, s:s, s:i, s:i, s:i}, s:o, s:s?, s:{s:s, s:s, s:i}}",
                  "progress", fraction, "eta_relative", left, "state", "skipped", now.skipped, "interrupted",
                  now.interrupted, "stopping_generation", now.interrupted, "job", job, "job_count",
                  runs ? (now.images > 0 ? now.images : 1) : now.queued, "job_timestamp", stamp, "job_no",
                  runs ? now.image : 0, "sampling_step", runs ? now.step : 0, "sampling_steps",
                  runs ? now.steps : 0, "current_image", text ? json_string_nocheck(text) : json_null(),
                  "textinfo", NULL, "ballast", "job", now.job, "stage", now.stage, "queued", now.queued));
    free(png);
    free(text);
}

void sd_interrupt(struct call *c) {
    c->api->service.interrupt(c->api->service.self, false);
    reply_json(c->x, 200, json_object());
}

void sd_skip(struct call *c) {
    c->api->service.interrupt(c->api->service.self, true);
    reply_json(c->x, 200, json_null());
}

void sd_unload(struct call *c) {
    struct problem p = {0};
    if (c->api->service.unload(c->api->service.self, &p)) {
        reply_problem(c->x, &p);
    } else {
        reply_json(c->x, 200, json_object());
    }
}

/* Weights come with the next picture. */
void sd_reload(struct call *c) {
    reply_json(c->x, 200, json_object());
}

void sd_refresh(struct call *c) {
    c->api->service.refresh(c->api->service.self);
    reply_json(c->x, 200, json_null());
}

static double meminfo(const char *key) {
    char line[128];
    long long kilobytes = 0;
    FILE *file = fopen("/proc/meminfo", "re");
    while (file && fgets(line, sizeof line, file)) {
        size_t n = strlen(key);
        if (!strncmp(line, key, n) && line[n] == ':') {
            kilobytes = strtoll(line + n + 1, NULL, 10);
        }
    }
    if (file) {
        fclose(file);
    }
    return (double)kilobytes * 1024;
}

void sd_memory(struct call *c) {
    double total = meminfo("MemTotal"), left = meminfo("MemAvailable");
    reply_json(c->x, 200,
               json_pack("{s:{s:f, s:f, s:f}, s:{s:s}}", "ram", "free", left, "used", total - left, "total",
                         total, "cuda", "error", "the device is the CPU"));
}

void sd_queue_status(struct call *c) {
    struct progress now;
    c->api->service.progress(c->api->service.self, &now);
    reply_held(c, true, ETA_SECONDS,
               json_pack("{s:s, s:i, s:n, s:n, s:n, s:n, s:n}", "msg", "estimation", "queue_size",
                         now.queued + (now.job[0] != 0), "rank", "avg_event_process_time",
                         "avg_event_concurrent_process_time", "rank_eta", "queue_eta"));
}

/* Who is here has been let in already: there is nothing to log in to. */
void sd_login(struct call *c) {
    reply_json(c->x, 200, json_pack("{s:b}", "success", 1));
}
