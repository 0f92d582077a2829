#include "server/server.h"

#include "server/api/api.h"
#include "server/auth/auth.h"
#include "server/http/http.h"
#include "server/jobs/jobs.h"
#include "server/store/store.h"

#include <stdlib.h>
#include <string.h>

struct server {
    struct store *store;
    struct jobs *jobs;
    struct api *api;
    struct http *http;
    struct auth *auth; /* NULL: everybody may come in */
    struct keeper keeper;
    struct service service;
};

static void handle(void *payload, struct exchange *x) {
    struct server *s = payload;
    api_handle(s->api, x);
}

static bool slow(void *payload, const char *path) {
    (void)payload;
    return api_slow(path);
}

static bool quick(void *payload, struct exchange *x) {
    struct server *s = payload;
    return api_quick(s->api, x);
}

static int admit(void *payload, const char *path, const char *authorization, bool at_once,
                 struct problem *p) {
    struct server *s = payload;
    if (!s->auth || !strcmp(path, "/healthz")) {
        return 0;
    }
    int status = auth_check(s->auth, authorization, at_once, p);
    return status == AUTH_LATER ? ADMIT_LATER : status;
}

static char *describe(void *payload, const char *path, const struct problem *p) {
    (void)payload;
    return api_describe(path, p);
}

static struct jobs_options jobs_part(const struct server_options *o) {
    return (struct jobs_options){.models = o->models,
                                 .adapters = o->adapters,
                                 .embeddings = o->embeddings,
                                 .threads = o->threads,
                                 .text_cache = o->text_cache,
                                 .isa = o->isa,
                                 .dtype = o->dtype,
                                 .vae_dtype = o->vae_dtype,
                                 .taesd = o->taesd,
                                 .previews = o->previews,
                                 .preview_every = o->preview_every,
                                 .placement = o->placement,
                                 .placement_from = o->placement_from,
                                 .device = o->device,
                                 .fair = o->fair,
                                 .idle_seconds = o->idle_seconds,
                                 .most_waiting = o->most_waiting,
                                 .retain_bytes = o->retain,
                                 .log = o->log};
}

static struct api_options api_part(const struct server_options *o) {
    return (struct api_options){.most_pixels = o->most_pixels,
                                .most_steps = o->most_steps,
                                .most_pictures = o->most_pictures,
                                .keepalive_seconds = o->keepalive_seconds,
                                .data = o->data,
                                .base_path = o->base_path,
                                .page = o->page,
                                .taesd = o->taesd != NULL};
}

static struct http_options http_part(struct server *s, const struct server_options *o) {
    return (struct http_options){.listen = o->listen,
                                 .base_path = o->base_path,
                                 .allow_origins = o->allow_origins,
                                 .allow_origin_count = o->allow_origin_count,
                                 .most_body = (size_t)o->most_body,
                                 .most_bodies = (size_t)o->most_body * 4,
                                 .header_seconds = 20,
                                 .answer_seconds = 60,
                                 .least_rate = 32768,
                                 .idle_seconds = 75,
                                 .anywhere = o->insecure || o->passwords || o->keys,
                                 .handle = handle,
                                 .admit = admit,
                                 .quick = quick,
                                 .slow = slow,
                                 .describe = describe,
                                 .payload = s};
}

int server_start(struct server **out, const struct server_options *o, struct problem *p) {
    *out = NULL;
    struct server *s = calloc(1, sizeof *s);
    if (!s) {
        return problem_set(p, 500, NULL, "out of memory");
    }
    struct jobs_options jobs = jobs_part(o);
    struct api_options api = api_part(o);
    struct http_options http = http_part(s, o);
    int status = o->passwords || o->keys ? auth_open(&s->auth, o->passwords, o->keys, p) : 0;
    status = status ? status : store_open(&s->store, o->data, &s->keeper, p);
    status = status ? status : jobs_open(&s->jobs, &jobs, &s->keeper, &s->service, p);
    status = status ? status : api_open(&s->api, &api, &s->service, p);
    status = status ? status : http_start(&s->http, &http, p);
    status = status ? status : jobs_start(s->jobs, p);
    if (status) {
        server_stop(&s, 0);
        return status;
    }
    *out = s;
    return 0;
}

const char *server_address(const struct server *server) {
    return http_address(server->http);
}

void server_stop(struct server **server, double grace_seconds) {
    struct server *s = *server;
    if (s) {
        if (s->http) {
            http_quiesce(s->http);
        }
        if (s->jobs) {
            jobs_stop(s->jobs, grace_seconds);
        }
        if (s->api) {
            api_stop(s->api);
        }
        http_close(&s->http);
        api_close(&s->api);
        jobs_close(&s->jobs);
        store_close(&s->store);
        auth_close(&s->auth);
        free(s);
    }
    *server = NULL;
}

void server_hurry(struct server *server) {
    jobs_hurry(server->jobs);
}
