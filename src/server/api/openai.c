/* /v1: OpenAI's API for pictures, and our extras beside its fields. */
#include "server/api/handlers.h"
#include "server/api/sdapi.h"

#include "ballast.h"
#include "server/base/base64.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

struct oa_body {
    const char *prompt, *negative_prompt, *model, *size, *response_format, *output_format, *sampler_name,
        *scheduler;
    int n, steps, compression, partial_images;
    double cfg_scale, strength;
    struct field_seed seed;
    bool stream;
};

#define AT(member) offsetof(struct oa_body, member)
#define COMMON                                                                                               \
    {"prompt", FIELD_TEXT, "null", 1, MOST_PROMPT, AT(prompt), "what to draw"},                              \
        {"model",                                                                                            \
         FIELD_TEXT,                                                                                         \
         "null",                                                                                             \
         0,                                                                                                  \
         1000,                                                                                               \
         AT(model),                                                                                          \
         "a model's name; an unknown one means the current model"},                                          \
        {"n", FIELD_INT, "1", 1, 10, AT(n), "how many pictures"},                                            \
        {"size", FIELD_TEXT, "\"auto\"", 0, 32, AT(size), "WxH, or auto"},                                   \
        {"response_format", FIELD_TEXT, "\"b64_json\"", 0, 32, AT(response_format), "b64_json, or url"},     \
        {"output_format", FIELD_TEXT, "\"png\"", 0, 32, AT(output_format), "png, jpeg or webp"},             \
        {"output_compression", FIELD_INT, "90", 0, 100, AT(compression), "quality of jpeg and webp"},        \
        {"stream", FIELD_SWITCH, "false", 0, 0, AT(stream), "answer in server-sent events"},                 \
        {"partial_images", FIELD_INT, "0", 0, 3, AT(partial_images), "previews on the way, with stream"},    \
        {"quality", FIELD_PASSED, "null", 0, 0, 0, "has no meaning here; steps is what counts"},             \
        {"background", FIELD_PASSED, "null", 0, 0, 0, "pictures have no transparency"},                      \
        {"moderation", FIELD_PASSED, "null", 0, 0, 0, "has no meaning here"},                                \
        {"style", FIELD_PASSED, "null", 0, 0, 0, "has no meaning here"},                                     \
        {"user", FIELD_PASSED, "null", 0, 0, 0, "has no meaning here"},                                      \
        {"input_fidelity", FIELD_PASSED, "null", 0, 0, 0, "strength is what counts"},                        \
        {"negative_prompt", FIELD_TEXT, "\"\"", 0, MOST_PROMPT, AT(negative_prompt), "ours: what to avoid"}, \
        ROW_SEED("ours: "), ROW_STEPS("null", "ours: " OWN_STEPS), ROW_CFG_SCALE("null", "ours: " OWN_CFG),  \
        ROW_SAMPLER("ours: "), ROW_SCHEDULER("ours: "), {                                                    \
        "strength", FIELD_NUMBER, "0.75", 0, 1, AT(strength), "ours: how much of a start picture is redone"  \
    }

const struct field oa_generate_fields[] = {COMMON, {0}};
const struct field oa_edit_fields[] = {
    COMMON, {"mask", FIELD_REFUSED, "null", 0, 0, 0, "masks are not done yet; leave it out"}, {0}};

static json_t *get(const json_t *object, const char *key) {
    return json_object_get(object, key);
}

void oa_models(struct call *c) {
    json_t *list = json_array(), *models = c->api->service.models(c->api->service.self), *model;
    size_t i;
    json_array_foreach(models, i, model) {
        json_array_append_new(list, json_pack("{s:O, s:s, s:i, s:s}", "id", get(model, "model_name"),
                                              "object", "model", "created", 0, "owned_by", "local"));
    }
    json_decref(models);
    reply_json(c->x, 200, json_pack("{s:s, s:o}", "object", "list", "data", list));
}

/* ---- from a body to a request */

static int read_size(struct picture_request *r, const char *size, json_t *warnings, struct problem *p) {
    char *end;
    if (!size || !*size || !strcasecmp(size, "auto")) {
        return 0;
    }
    long width = strtol(size, &end, 10), height = *end == 'x' ? strtol(end + 1, &end, 10) : 0;
    if (*end || width < 8 || height < 8 || width > 65528 || height > 65528) {
        return problem_set(p, 400, "size", "size: \"%.32s\" is no size; write 1024x1024, or auto", size);
    }
    r->width = sd_whole((int)width, "width", warnings);
    r->height = sd_whole((int)height, "height", warnings);
    return 0;
}

static int check_words(const struct oa_body *b, struct problem *p) {
    if (!b->prompt) {
        return problem_set(p, 400, "prompt", "prompt: it is missing");
    }
    if (b->response_format && strcmp(b->response_format, "b64_json") != 0 &&
        strcmp(b->response_format, "url") != 0) {
        return problem_set(p, 400, "response_format", "response_format: b64_json or url");
    }
    if (b->output_format && strcmp(b->output_format, "png") != 0 && strcmp(b->output_format, "jpeg") != 0 &&
        strcmp(b->output_format, "webp") != 0) {
        return problem_set(p, 400, "output_format", "output_format: png, jpeg or webp");
    }
    return 0;
}

static int to_request(struct api *api, struct picture_request *r, const struct oa_body *b, json_t *warnings,
                      struct problem *p) {
    r->count = b->n;
    r->steps = b->steps;
    r->cfg = b->cfg_scale;
    r->strength = b->strength;
    r->seed = b->seed.random ? sd_draw_seed() : b->seed.value;
    if (!b->model || !*b->model || api->service.find_model(api->service.self, b->model, &r->model, NULL)) {
        r->model = sd_current_model(api);
    }
    if (!r->model || !picture_text_set(&r->prompt, b->prompt) ||
        !picture_text_set(&r->negative_prompt, b->negative_prompt) || !picture_text_set(&r->rng, "cpu")) {
        return problem_set(p, 503, NULL, "out of memory");
    }
    sd_recommend(api, r);
    int status = read_size(r, b->size, warnings, p);
    if (!status) {
        status = sd_resolve_sampler(r, b->sampler_name && *b->sampler_name ? b->sampler_name : "DPM++ 2M",
                                    b->scheduler, p);
    }
    status = status ? status : sd_check_size(api, r, p);
    if (!strcmp(p->field, "width")) {
        snprintf(p->field, sizeof p->field, "size");
    }
    return status ? 400 : 0;
}

/* ---- answers */

/* How an answer is given; kept while its job runs. */
struct wish {
    bool url, edit;
    char format[8], base[400];
    int compression, partials, sent; /* of partial pictures */
};

static json_t *usage(void) {
    return json_pack("{s:i, s:i, s:i, s:{s:i, s:i}}", "total_tokens", 0, "input_tokens", 0, "output_tokens",
                     0, "input_tokens_details", "text_tokens", 0, "image_tokens", 0);
}

static void add_details(json_t *object, const json_t *image, const struct wish *w) {
    char size[40];
    snprintf(size, sizeof size, "%dx%d", (int)json_integer_value(get(image, "width")),
             (int)json_integer_value(get(image, "height")));
    json_object_set_new(object, "size", json_string(size));
    json_object_set_new(object, "output_format", json_string(w->format));
    json_object_set_new(object, "background", json_string("opaque"));
    json_object_set_new(object, "quality", json_string("auto"));
}

/* False: the job failed, and *p says why. */
static bool succeeded(const json_t *job, struct problem *p) {
    const char *state = json_string_value(get(job, "state")), *error = json_string_value(get(job, "error"));
    if (!strcmp(state, "done") && json_array_size(get(job, "images"))) {
        return true;
    }
    json_int_t status = json_integer_value(get(job, "status"));
    if (!strcmp(state, "running") ||
        !strcmp(state, "queued")) { /* it has ended, and that could not be kept */
        problem_set(p, 507, NULL,
                    "the job's end cannot be kept: the data folder cannot be written; make room");
        return false;
    }
    problem_set(p, status ? (int)status : 400, NULL, "%s", error ? error : "it failed");
    return false;
}

static void answer_whole(struct api *api, struct exchange *x, bool streaming, const json_t *job,
                         const struct wish *w) {
    struct problem p = {0};
    json_t *data = json_array(), *image, *answer = NULL;
    size_t i;
    bool good = succeeded(job, &p);
    if (good) {
        json_array_foreach(get(job, "images"), i, image) {
            if (w->url) {
                char url[600];
                snprintf(url, sizeof url, "%s%s", w->base, json_string_value(get(image, "url")));
                json_array_append_new(data, json_pack("{s:s}", "url", url));
                continue;
            }
            char *text =
                picture_text(api, json_string_value(get(job, "id")), (int)i, w->format, w->compression, &p);
            good = text &&
                   !json_array_append_new(data, json_pack("{s:o}", "b64_json", json_string_nocheck(text)));
            free(text);
            if (!good) {
                break;
            }
        }
    }
    if (good) {
        answer = json_pack("{s:I, s:O, s:o, s:o}", "created", (json_int_t)time(NULL), "data", data, "usage",
                           usage(), "ballast", ballast_part(job));
        add_details(answer, json_array_get(get(job, "images"), 0), w);
    }
    json_decref(data);
    if (!streaming && answer) {
        reply_json(x, 200, answer);
    } else if (!streaming) {
        reply_problem(x, &p);
    } else {
        char *text = answer ? json_dumps(answer, JSON_COMPACT) : api_describe(x->path, &p);
        exchange_write(x, text ? text : "{}", text ? strlen(text) : 2);
        exchange_end(x);
        free(text);
        json_decref(answer);
    }
}

static void on_whole(struct api *api, struct exchange *x, bool streaming, const json_t *job, void *payload) {
    answer_whole(api, x, streaming, job, payload);
}

/* ---- streams */

static void send_event(struct exchange *x, const char *name, json_t *data) {
    char *text = data ? json_dumps(data, JSON_COMPACT) : NULL, *event = NULL;
    int n = text ? asprintf(&event, "event: %s\ndata: %s\n\n", name, text) : -1;
    if (n > 0) {
        exchange_write(x, event, (size_t)n);
        free(event);
    }
    free(text);
    json_decref(data);
}

static void send_partial(struct exchange *x, struct wish *w, const char *png, size_t bytes) {
    char *text = base64_encode(png, bytes);
    const char *name = w->edit ? "image_edit.partial_image" : "image_generation.partial_image";
    if (text) {
        send_event(x, name,
                   json_pack("{s:s, s:o, s:i, s:I, s:s, s:s, s:s, s:s}", "type", name, "b64_json",
                             json_string_nocheck(text), "partial_image_index", w->sent, "created_at",
                             (json_int_t)time(NULL), "output_format", "png", "size", "auto", "background",
                             "opaque", "quality", "auto"));
        w->sent++;
    }
    free(text);
}

/* A preview is there: one at each part of the way. */
static void on_step(struct api *api, struct exchange *x, const struct progress *now, void *payload) {
    struct wish *w = payload;
    char *png = NULL;
    size_t bytes;
    if (w->sent < w->partials && now->fraction >= (double)(w->sent + 1) / (w->partials + 1) - 1e-9) {
        api->service.preview(api->service.self, now->job, &png, &bytes);
        if (png) {
            send_partial(x, w, png, bytes);
        }
        free(png);
    }
}

static void on_streamed(struct api *api, struct exchange *x, bool streaming, const json_t *job,
                        void *payload) {
    struct wish *w = payload;
    struct problem p = {0};
    json_t *image;
    size_t i;
    const char *name = w->edit ? "image_edit.completed" : "image_generation.completed";
    (void)streaming;
    bool good = succeeded(job, &p);
    if (good) {
        json_array_foreach(get(job, "images"), i, image) {
            char *text =
                picture_text(api, json_string_value(get(job, "id")), (int)i, w->format, w->compression, &p);
            if (!text) {
                good = false;
                break;
            }
            if (w->partials && !w->sent && !w->edit && !strcmp(w->format, "png")) {
                char *png = NULL; /* it was done before a preview could be sent */
                size_t bytes;
                if (!api->service.picture(api->service.self, json_string_value(get(job, "id")), (int)i, &png,
                                          &bytes, NULL)) {
                    send_partial(x, w, png, bytes);
                }
                free(png);
            }
            json_t *data =
                json_pack("{s:s, s:o, s:I, s:o}", "type", name, "b64_json", json_string_nocheck(text),
                          "created_at", (json_int_t)time(NULL), "usage", usage());
            add_details(data, image, w);
            send_event(x, name, data);
            free(text);
        }
    }
    if (!good) {
        char *text = api_describe(x->path, &p);
        json_t *data = text ? json_loads(text, 0, NULL) : json_object();
        json_object_set_new(data, "type", json_string("error"));
        send_event(x, "error", data);
        free(text);
    }
    exchange_end(x);
}

/* ---- the two handlers */

/* Where this server was reached, for addresses of pictures. */
static void find_base(struct wish *w, const struct api *api, struct exchange *x) {
    const char *host = exchange_header(x, "Host"), *scheme = exchange_header(x, "X-Forwarded-Proto");
    bool https = scheme && !strcmp(scheme, "https");
    snprintf(w->base, sizeof w->base, "http%s://%.180s%.*s", https ? "s" : "", host ? host : "127.0.0.1",
             base_path_length(api), api->options.base_path);
}

static void submit(struct call *c, struct oa_body *b, struct picture_request *r, const json_t *warnings,
                   bool edit) {
    struct problem p = {0};
    char id[JOB_ID];
    struct wish *w = calloc(1, sizeof *w);
    int status = w ? 0 : problem_set(&p, 503, NULL, "out of memory");
    if (!status && !join_retry(c, id)) {
        struct submission s = {.source = "openai", .request = r, .warnings = warnings};
        status = c->api->service.submit(c->api->service.self, &s, id, &p);
        if (!status) {
            remember_body(c, id);
        }
    }
    if (status) {
        free(w);
        reply_problem(c->x, &p);
        return;
    }
    snprintf(w->format, sizeof w->format, "%s", b->output_format ? b->output_format : "png");
    w->url = b->response_format && !strcmp(b->response_format, "url");
    w->edit = edit;
    w->compression = b->compression;
    w->partials = b->partial_images;
    find_base(w, c->api, c->x);
    if (b->stream) {
        exchange_stream(c->x, 200, "text/event-stream");
        wait_streaming(c, id, on_step, on_streamed, w);
    } else {
        wait_for(c, id, on_whole, w);
    }
}

void oa_generate(struct call *c) {
    struct oa_body b = {.cfg_scale = -1};
    struct picture_request r;
    struct problem p = {0};
    json_t *warnings = json_array();
    picture_request_init(&r);
    int status = fields_read(&b, oa_generate_fields, c->body, NULL, &p);
    status = status ? status : check_words(&b, &p);
    status = status ? status : to_request(c->api, &r, &b, warnings, &p);
    if (status) {
        p.status = p.status == 404 || p.status == 422 ? 400 : p.status;
        reply_problem(c->x, &p);
    } else {
        submit(c, &b, &r, warnings, false);
    }
    json_decref(warnings);
    picture_request_free(&r);
}

/* The picture to start from, of a form's part or of a JSON body. */
static int read_image(struct call *c, struct picture_request *r, struct problem *p) {
    const struct part *image = NULL;
    int images = 0;
    for (int i = 0; i < c->part_count; i++) {
        const struct part *part = &c->form[i];
        if (!strcmp(part->name, "mask") && part->bytes) {
            return problem_set(p, 400, "mask", "mask: masks are not done yet; leave it out");
        }
        if (!strcmp(part->name, "image") || !strcmp(part->name, "image[]")) {
            image = part;
            images++;
        }
    }
    if (images > 1) {
        return problem_set(p, 400, "image", "image: one picture to start from is taken, here are %d", images);
    }
    if (!image) {
        const json_t *value = get(c->body, "image");
        int size[2];
        return value ? sd_read_picture(c->api, &r->init, &r->init_bytes, size, value, "image", p)
                     : problem_set(p, 400, "image", "image: it is missing");
    }
    uint8_t *rgb = NULL;
    int width, height;
    ballast_error err = {0};
    int code = ballast_image_decode(&rgb, &width, &height, NULL, NULL, image->data, image->bytes,
                                    (size_t)c->api->options.most_pixels, &err);
    ballast_bytes_free(&rgb);
    if (code) {
        return problem_set(p, code == BALLAST_E_MEMORY ? 503 : 400, "image", "image: %s", err.message);
    }
    r->init = malloc(image->bytes);
    if (!r->init) {
        return problem_set(p, 503, NULL, "out of memory");
    }
    memcpy(r->init, image->data, image->bytes);
    r->init_bytes = image->bytes;
    return 0;
}

void oa_edit(struct call *c) {
    struct oa_body b = {.cfg_scale = -1};
    struct picture_request r;
    struct problem p = {0};
    json_t *warnings = json_array();
    picture_request_init(&r);
    int status = fields_read(&b, oa_edit_fields, c->body, NULL, &p);
    status = status ? status : check_words(&b, &p);
    status = status ? status : read_image(c, &r, &p);
    status = status ? status : to_request(c->api, &r, &b, warnings, &p);
    if (status) {
        p.status = p.status == 404 || p.status == 422 ? 400 : p.status;
        reply_problem(c->x, &p);
    } else {
        submit(c, &b, &r, warnings, true);
    }
    json_decref(warnings);
    picture_request_free(&r);
}
