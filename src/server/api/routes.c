/* Every route, once. */
#include "server/api/handlers.h"
#include "server/api/sdapi.h"

#include <string.h>

extern const struct field sd_extra_single_fields[], sd_extra_batch_fields[], oa_generate_fields[],
    oa_edit_fields[], own_curve_fields[], own_setting_fields[];

static const struct field state_query[] = {
    {"state", FIELD_TEXT, "\"queued,running\"", 0, 96, 0, "states, with commas between"}, {0}};
static const struct field history_query[] = {
    {"limit", FIELD_INT, "50", 1, 1000, 0, "pictures of a page"},
    {"after", FIELD_TEXT, "null", 0, 20, 0, "`next` of the page before"},
    {"search", FIELD_TEXT, "null", 0, 1000, 0, "a text within what made it"},
    {"model", FIELD_TEXT, "null", 0, 1000, 0, "the name of its model, as it stands there"},
    {"since", FIELD_NUMBER, "0", 0, 1e15, 0, "made from then on, seconds since 1970"},
    {"until", FIELD_NUMBER, "null", 0, 1e15, 0, "made before then"},
    {0}};
static const struct field image_query[] = {
    {"size", FIELD_INT, "null", 16, 1024, 0, "of the longer side, in pixels: a small one, as WebP"}, {0}};
static const struct field progress_query[] = {
    {"skip_current_image", FIELD_SWITCH, "false", 0, 0, 0, "true: without a preview"}, {0}};
static const struct field adapter_query[] = {
    {"name", FIELD_TEXT, "null", 1, 1000, 0, "as `loras` of /ballast/v1/lists has it, or its alias"}, {0}};
static const struct field events_query[] = {
    {"last_event_id", FIELD_TEXT, "null", 0, 20, 0, "as the header Last-Event-ID"}, {0}};

#define SD "/sdapi/v1/"
#define OWN "/ballast/v1/"

bool api_slow(const char *path) {
    static const char *const paths[] = {SD "unload-checkpoint",  SD "extra-single-image",
                                        SD "extra-batch-images", OWN "plan",
                                        OWN "plan/curve",        OWN "residency"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        if (!strcmp(path, paths[i])) {
            return true;
        }
    }
    return false;
}

const struct route routes[] = {
    {"POST", SD "txt2img", sd_txt2img, BODY_JSON, sd_txt2img_fields, "Pictures", "pictures from text"},
    {"POST", SD "img2img", sd_img2img, BODY_JSON, sd_img2img_fields, "Pictures", "pictures from a picture"},
    {"POST", SD "extra-single-image", sd_extra_single, BODY_JSON, sd_extra_single_fields, "Enlarged",
     "enlarges a picture"},
    {"POST", SD "extra-batch-images", sd_extra_batch, BODY_JSON, sd_extra_batch_fields, "EnlargedAll",
     "enlarges pictures"},
    {"POST", SD "png-info", sd_png_info, BODY_JSON, NULL, "PngInfo", "the text that a picture carries"},
    {"POST", SD "interrogate", sd_interrogate, BODY_NONE, NULL, NULL, "not done here"},
    {"POST", SD "interrupt", sd_interrupt, BODY_NONE, NULL, "object",
     "ends the job in work, with its picture as it is by now"},
    {"POST", SD "skip", sd_skip, BODY_NONE, NULL, NULL,
     "ends the picture in work as it is by now; the job goes on"},
    {"GET", SD "options", sd_get_options, BODY_NONE, NULL, "Options", "settings"},
    {"POST", SD "options", sd_set_options, BODY_JSON, sd_setting_fields, NULL,
     "sets them; unknown keys are passed over"},
    {"GET", SD "progress", sd_progress, BODY_NONE, NULL, "Progress", "where the job in work stands"},
    {"GET", SD "cmd-flags", sd_cmd_flags, BODY_NONE, NULL, "object", "a fixed list"},
    {"GET", SD "sd-models", sd_models, BODY_NONE, NULL, "[Model]", "checkpoints"},
    {"GET", SD "sd-vae", sd_vaes, BODY_NONE, NULL, "[Vae]", "VAEs"},
    {"GET", SD "samplers", sd_samplers, BODY_NONE, NULL, "[Sampler]", "samplers"},
    {"GET", SD "schedulers", sd_schedulers, BODY_NONE, NULL, "[Scheduler]", "schedules"},
    {"GET", SD "upscalers", sd_upscalers, BODY_NONE, NULL, "[Upscaler]", "upscalers"},
    {"GET", SD "latent-upscale-modes", sd_latent_modes, BODY_NONE, NULL, "[Name]", "upscalers of latents"},
    {"GET", SD "loras", sd_loras, BODY_NONE, NULL, "[object]", "adapters"},
    {"GET", SD "hypernetworks", sd_empty_list, BODY_NONE, NULL, "[object]", "none"},
    {"GET", SD "face-restorers", sd_empty_list, BODY_NONE, NULL, "[object]", "none"},
    {"GET", SD "realesrgan-models", sd_empty_list, BODY_NONE, NULL, "[object]", "none"},
    {"GET", SD "prompt-styles", sd_empty_list, BODY_NONE, NULL, "[object]", "none"},
    {"GET", SD "script-info", sd_empty_list, BODY_NONE, NULL, "[object]", "none"},
    {"GET", SD "scripts", sd_scripts, BODY_NONE, NULL, "Scripts", "none"},
    {"GET", SD "embeddings", sd_embeddings, BODY_NONE, NULL, "Embeddings", "embeddings"},
    {"GET", SD "memory", sd_memory, BODY_NONE, NULL, "Memory", "the machine's memory"},
    {"POST", SD "unload-checkpoint", sd_unload, BODY_NONE, NULL, "object", "gives the weights' memory back"},
    {"POST", SD "reload-checkpoint", sd_reload, BODY_NONE, NULL, "object",
     "weights come with the next picture"},
    {"POST", SD "refresh-checkpoints", sd_refresh, BODY_NONE, NULL, NULL,
     "looks into the models' folder again"},
    {"POST", SD "refresh-vae", sd_refresh, BODY_NONE, NULL, NULL, "looks into the models' folder again"},
    {"POST", SD "refresh-loras", sd_reload, BODY_NONE, NULL, "object", "the list is always fresh"},
    {"GET", "/queue/status", sd_queue_status, BODY_NONE, NULL, "QueueStatus",
     "how many wait, for clients of gradio"},
    {"GET", "/config", sd_config, BODY_NONE, NULL, "object", "for clients of gradio"},
    {"POST", "/login", sd_login, BODY_NONE, NULL, "object", "for clients of gradio"},
    {"GET", "/v1/models", oa_models, BODY_NONE, NULL, "OpenAIModels", "checkpoints"},
    {"POST", "/v1/images/generations", oa_generate, BODY_JSON, oa_generate_fields, "OpenAIPictures",
     "pictures from text"},
    {"POST", "/v1/images/edits", oa_edit, BODY_FORM, oa_edit_fields, "OpenAIPictures",
     "pictures from a picture"},
    {"POST", OWN "jobs", own_add_job, BODY_JSON, own_txt2img_fields, "Added",
     "queues a job: a body of txt2img or img2img"},
    {"GET", OWN "jobs", own_jobs, BODY_NONE, NULL, "Jobs",
     "jobs in the states of ?state=, by default queued,running"},
    {"GET", OWN "jobs/{id}", own_job, BODY_NONE, NULL, "Job", "a job"},
    {"DELETE", OWN "jobs/{id}", own_cancel, BODY_NONE, NULL, "Id", "cancels a job"},
    {"PATCH", OWN "jobs/{id}", own_move, BODY_JSON, NULL, "Id", "moves a waiting job to a `position`"},
    {"GET", OWN "jobs/{id}/image/{number}", own_image, BODY_NONE, NULL, "image/png",
     "a picture: ?size= for a small one"},
    {"GET", OWN "events", own_events, BODY_NONE, NULL, "text/event-stream",
     "queue, step, preview, done, hint as they come"},
    {"GET", OWN "history", own_history, BODY_NONE, NULL, "History",
     "pictures from the newest down: ?limit=&after=&search=&model=&since=&until="},
    {"DELETE", OWN "history/{id}", own_forget, BODY_NONE, NULL, "Id",
     "deletes a job's pictures, and the job"},
    {"DELETE", OWN "history/{id}/{number}", own_forget, BODY_NONE, NULL, "Id",
     "deletes one of a job's pictures, and with its last one the job"},
    {"POST", OWN "plan", own_plan, BODY_JSON, own_txt2img_fields, "Plan",
     "what such a request would cost, in each mode; nothing is computed"},
    {"GET", OWN "plan/curve", own_curve, BODY_NONE, NULL, "Plan", "its seconds against the budget"},
    {"POST", OWN "plan/curve", own_curve, BODY_JSON, own_txt2img_fields, "Plan",
     "the same, of a request in the body: one that begins from a picture, too"},
    {"GET", OWN "residency", own_residency, BODY_NONE, NULL, "Residency",
     "what lies where now, block by block"},
    {"GET", OWN "devices", own_devices, BODY_NONE, NULL, "Devices", "what could compute here"},
    {"GET", OWN "settings", own_get_settings, BODY_NONE, NULL, "Settings",
     "model and placement that hold now"},
    {"POST", OWN "settings", own_set_settings, BODY_JSON, own_setting_fields, "Settings",
     "sets them from the next picture on"},
    {"GET", OWN "lists", own_lists, BODY_NONE, NULL, "Lists", "what a request may choose from"},
    {"GET", OWN "adapter", own_adapter, BODY_NONE, NULL, "object",
     "what the adapter of ?name= is, and words it was trained with"},
    {"GET", OWN "tags", own_tags, BODY_NONE, NULL, "text/plain",
     "the list of tags in --data, for completion"},
    {"GET", "/metrics", sys_metrics, BODY_NONE, NULL, "text/plain", "for Prometheus"},
    {"GET", "/openapi.json", sys_openapi, BODY_NONE, NULL, "object", "this description"},
    {"GET", "/healthz", sys_health, BODY_NONE, NULL, "Status", "the process answers"},
    {"GET", "/readyz", sys_ready, BODY_NONE, NULL, "Status", "jobs are taken"},
    {"GET", "/", page_root, BODY_NONE, NULL, "text/html", "the page"},
    {"GET", "/page/{file}", page_file, BODY_NONE, NULL, "text/plain", "a file of the page"},
};
const int route_count = sizeof routes / sizeof *routes;

const struct route_query route_queries[] = {
    {"GET", OWN "jobs", {state_query}},
    {"GET", OWN "history", {history_query}},
    {"GET", OWN "jobs/{id}/image/{number}", {image_query}},
    {"GET", OWN "events", {events_query}},
    {"GET", OWN "adapter", {adapter_query}},
    {"GET", OWN "plan/curve", {own_curve_fields, own_txt2img_fields}},
    {"POST", OWN "plan/curve", {own_curve_fields}},
    {"GET", SD "progress", {progress_query}},
    {NULL, NULL, {NULL}},
};
