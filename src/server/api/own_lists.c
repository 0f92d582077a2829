/* /ballast/v1: what a request may choose from. */
#include "server/api/handlers.h"
#include "server/api/internal.h"

#include "ballast.h"

static json_t *names(const char *(*name)(int index)) {
    json_t *list = json_array();
    for (int i = 0; name(i); i++) {
        json_array_append_new(list, json_string(name(i)));
    }
    return list;
}

static json_t *schedules(void) {
    json_t *list = json_array();
    for (int i = 0; ballast_schedule_name(i); i++) {
        const char *name = ballast_schedule_name(i);
        json_array_append_new(list, json_pack("{s:s, s:s}", "name", name, "label", schedule_label(name)));
    }
    return list;
}

/* Without what is nobody's business: where it lies. */
static json_t *without_paths(json_t *list) {
    json_t *entry;
    size_t i;
    json_array_foreach(list, i, entry) {
        json_object_del(entry, "filename");
        json_object_del(entry, "config");
        json_object_del(entry, "path");
    }
    return list;
}

void own_lists(struct call *c) {
    const struct service *s = &c->api->service;
    const struct api_options *o = &c->api->options;
    reply_json(c->x, 200,
               json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:{s:I, s:i, s:i}}", "version",
                         ballast_version(), "models", without_paths(s->models(s->self)), "vaes",
                         without_paths(s->vaes(s->self)), "samplers", names(ballast_sampler_name),
                         "schedules", schedules(), "upscalers", names(ballast_upscaler_name), "loras",
                         without_paths(s->adapters(s->self)), "embeddings",
                         without_paths(s->embeddings(s->self)), "limits", "pixels",
                         (json_int_t)o->most_pixels, "steps", o->most_steps, "pictures", o->most_pictures));
}
