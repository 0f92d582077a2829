/* What answers look like: a line for each kind, "KEY:TYPE" by "KEY:TYPE". A type is string, integer, number,
 * boolean, object, any or the name of another kind; in brackets a list of it; with '?' it may be null, too. A
 * key with '~' before it may be missing. */
#include "server/api/internal.h"

#include <stdio.h>
#include <string.h>

static const struct kind {
    const char *name, *keys;
} kinds[] = {
    {"Pictures", "images:[string] parameters:object? info:string ballast:Ballast"},
    {"Ballast",
     "job:string state:State timings:object? line:string? hint:object? plan:object? after_idle:Rest?"
     " batched_with:[string] warnings:[string]"},
    {"Rest", "bytes:integer seconds:number"},
    {"Added", "id:string url:string warnings:[string]"},
    {"Id", "id:string"},
    {"Job",
     "id:string source:string state:State created:number started:number? ended:number? place:number"
     " priority:integer request:object error:string? status:integer? report:object? warnings:[string]?"
     " images:[Picture] seed:any batched_with:[string] ballast:Ballast ~position:integer ~progress:number"},
    {"JobRow", "id:string source:string state:State created:number started:number? ended:number? place:number"
               " priority:integer request:object asked:object? error:string? status:integer?"
               " warnings:[string]?"},
    {"Jobs", "items:[JobRow]"},
    {"Picture", "n:integer job:string index:integer seed:any width:integer height:integer bytes:integer"
                " parameters:string created:number url:string"},
    {"History", "items:[Picture] next:integer?"},
    {"Plan",
     "mode:string method:string budget_bytes:integer process_bytes:integer peak_bytes:integer"
     " moved_bytes:integer moves:integer seconds:number bound_moved_bytes:integer bound_seconds:number"
     " min_budget_bytes:integer working_set_bytes:integer planning_seconds:number host_bytes:integer"
     " store_peak_bytes:integer loaded_bytes:integer loads:integer load_seconds:number"
     " copy_slowdown:number slowed_seconds:number"
     " phases:[object] decisions:[object] schema:integer"
     " version:string device:string phases_measured:integer first_seconds:number"
     " request_seconds:number ~compare:[object] ~sweep:[object] from:string warnings:[string]"},
    {"Residency", "region_bytes:integer resident_bytes:integer stored_bytes:integer models:[object]"
                  " budget_bytes:number"},
    {"Devices", "items:[object]"},
    {"Placement",
     "offload:string? budget:string? reserve:string? host_budget:string? low:string? high:string?"
     " never:string? always:string? fit_check:string?"},
    {"Settings", "offload:string? budget:string? reserve:string? host_budget:string? low:string? high:string?"
                 " never:string? always:string? fit_check:string? started:Placement from:Placement"
                 " model:string"},
    {"Lists", "version:string models:[object] vaes:[object] samplers:[string] schedules:[object]"
              " upscalers:[string] loras:[object] embeddings:[object] limits:object"},
    {"Options",
     "sd_model_checkpoint:string sd_checkpoint_hash:string? sd_vae:string samples_format:string"
     " sd_vae_decode_method:string CLIP_stop_at_last_layers:integer randn_source:string samples_save:boolean"
     " enable_pnginfo:boolean send_seed:boolean outdir_samples:string live_previews_enable:boolean"
     " show_progress_every_n_steps:integer eta_noise_seed_delta:integer pad_cond_uncond:boolean"
     " comma_padding_backtrack:integer"},
    {"Progress", "progress:number eta_relative:number state:ProgressState current_image:string?"
                 " textinfo:string? ballast:Work"},
    {"ProgressState", "skipped:boolean interrupted:boolean stopping_generation:boolean job:string"
                      " job_count:integer job_timestamp:string job_no:integer sampling_step:integer"
                      " sampling_steps:integer"},
    {"Work", "job:string stage:string queued:integer"},
    {"Model", "title:string model_name:string filename:string config:any hash:string? sha256:string?"
              " family:string bytes:integer multiple:integer recommended:object"},
    {"Vae", "model_name:string filename:string"},
    {"Sampler", "name:string aliases:[string] options:object"},
    {"Scheduler", "name:string label:string aliases:any default_rho:number need_inner_model:boolean"},
    {"Upscaler", "name:string model_name:string? model_path:string? model_url:string? scale:number"},
    {"Name", "name:string"},
    {"Scripts", "txt2img:[string] img2img:[string]"},
    {"Embeddings", "loaded:object skipped:object"},
    {"Memory", "ram:object cuda:object"},
    {"PngInfo", "info:string items:object parameters:object"},
    {"Enlarged", "html_info:string image:string"},
    {"EnlargedAll", "html_info:string images:[string]"},
    {"QueueStatus", "msg:string queue_size:integer rank:any avg_event_process_time:any"
                    " avg_event_concurrent_process_time:any rank_eta:any queue_eta:any"},
    {"OpenAIModels", "object:string data:[object]"},
    {"OpenAIPictures", "created:integer data:[object] usage:object ballast:Ballast size:string"
                       " output_format:string background:string quality:string"},
    {"Status", "status:string"},
    {"Problem", "detail:any"},
    {"OpenAIProblem", "error:OpenAIError"},
    {"OpenAIError", "message:string type:string param:string? code:any"},
};

/* "string", "[Picture]", "object?". */
static json_t *type_of(const char *text, size_t n) {
    static const char *const plain[] = {"string", "integer", "number", "boolean", "object"};
    char name[64], path[96];
    if (n && text[n - 1] == '?') {
        return json_pack("{s:[o, {s:s}]}", "anyOf", type_of(text, n - 1), "type", "null");
    }
    if (*text == '[') {
        return json_pack("{s:s, s:o}", "type", "array", "items", type_of(text + 1, n - 2));
    }
    snprintf(name, sizeof name, "%.*s", (int)n, text);
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        if (!strcmp(name, plain[i])) {
            return json_pack("{s:s}", "type", name);
        }
    }
    snprintf(path, sizeof path, "#/components/schemas/%s", name);
    return strcmp(name, "any") ? json_pack("{s:s}", "$ref", path) : json_object();
}

json_t *schema_type(const char *text) {
    return type_of(text, strlen(text));
}

static json_t *schema_of(const char *keys) {
    json_t *properties = json_object(), *required = json_array();
    for (const char *at = keys; *at;) {
        size_t n = strcspn(at, " "), key = strcspn(at, ":");
        bool may = *at == '~';
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(key - may), at + may);
        json_object_set_new(properties, name, type_of(at + key + 1, n - key - 1));
        if (!may) {
            json_array_append_new(required, json_string(name));
        }
        at += n + (at[n] == ' ');
    }
    return json_pack("{s:s, s:o, s:o}", "type", "object", "required", required, "properties", properties);
}

json_t *schemas_all(void) {
    json_t *all = json_object();
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        json_object_set_new(all, kinds[i].name, schema_of(kinds[i].keys));
    }
    json_object_set_new(
        all, "State",
        json_pack("{s:[s, s, s, s, s]}", "enum", "queued", "running", "done", "failed", "cancelled"));
    return all;
}
