#include "server/api/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool is_openai_path(const char *path) {
    return !strncmp(path, "/v1/", 4) || !strcmp(path, "/v1");
}

int base_path_length(const struct api *api) {
    int n = (int)strlen(api->options.base_path);
    while (n && api->options.base_path[n - 1] == '/') {
        n--;
    }
    return n;
}

void reply_json(struct exchange *x, int status, json_t *value) {
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    json_decref(value);
    exchange_answer(x, status, "application/json", text, text ? strlen(text) : 0);
}

/* What the library refuses it names itself, "NAME: ...", by its own names. */
static const char *field_of(const char *path, const struct problem *p) {
    static const char *const names[][2] = {{"width", "width"},
                                           {"height", "height"},
                                           {"steps", "steps"},
                                           {"prompt", "prompt"},
                                           {"offload", "offload"},
                                           {"budget", "budget"},
                                           {"reserve", "reserve"},
                                           {"host_budget", "host_budget"},
                                           {"low", "low"},
                                           {"high", "high"},
                                           {"sweep", "low"},
                                           {"never", "never"},
                                           {"always", "always"},
                                           {"cfg", "cfg_scale"},
                                           {"guidance", "distilled_cfg_scale"},
                                           {"schedule", "scheduler"},
                                           {"sampler", "sampler_name"},
                                           {"eta", "eta"},
                                           {"batch", "batch_size"},
                                           {"strength", "denoising_strength"},
                                           {"decode", "decode"}};
    size_t n = strspn(p->text, "abcdefghijklmnopqrstuvwxyz_");
    for (size_t i = 0; i < sizeof names / sizeof *names && (p->text[n] == ':' || p->text[n] == ','); i++) {
        if (strlen(names[i][0]) == n && !memcmp(names[i][0], p->text, n)) {
            return is_openai_path(path) && !strcmp(names[i][0], "strength") ? names[i][0] : names[i][1];
        }
    }
    return p->field;
}

static json_t *describe_openai(const struct problem *p, int status) {
    const char *type = status == 401   ? "authentication_error"
                       : status == 429 ? "rate_limit_error"
                       : status >= 500 ? "server_error"
                                       : "invalid_request_error";
    return json_pack("{s:{s:s, s:s, s:o, s:n}}", "error", "message", p->text, "type", type, "param",
                     p->field[0] ? json_string(p->field) : json_null(), "code");
}

static int status_for(const char *path, int status) {
    return is_openai_path(path) && status == 422 ? 400 : status;
}

static json_t *describe(const char *path, const struct problem *given) {
    struct problem named = *given, *p = &named;
    if (!p->field[0] || !strcmp(p->field, "request")) {
        snprintf(named.field, sizeof named.field, "%s", field_of(path, given));
    }
    if (is_openai_path(path)) {
        return describe_openai(p, status_for(path, p->status));
    }
    if (p->status == 422) {
        return p->field[0] ? json_pack("{s:[{s:[s, s], s:s, s:s}]}", "detail", "loc", "body", p->field, "msg",
                                       p->text, "type", "value_error")
                           : json_pack("{s:[{s:[s], s:s, s:s}]}", "detail", "loc", "body", "msg", p->text,
                                       "type", "value_error");
    }
    return json_pack("{s:s}", "detail", p->text);
}

char *api_describe(const char *path, const struct problem *p) {
    json_t *object = describe(path, p);
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return text;
}

void reply_problem(struct exchange *x, const struct problem *p) {
    exchange_retry_after(x, p);
    reply_json(x, status_for(x->path, p->status ? p->status : 500), describe(x->path, p));
}

void reply_bytes(struct exchange *x, const char *type, char *bytes, size_t count) {
    exchange_answer(x, 200, type, bytes, count);
}
