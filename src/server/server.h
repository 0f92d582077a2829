/* `ballast serve`: puts the rooms together. http takes requests, api understands them, jobs does them, store
 * keeps them; none of them knows another one. What passes between them is in server/base. */
#ifndef BALLAST_SERVER_SERVER_H
#define BALLAST_SERVER_SERVER_H

#include "server/base/placement.h"
#include "server/base/problem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct server;

struct server_options {
    const char *models, *adapters, *embeddings, *listen, *data;
    const char *base_path, *page;     /* page: as in api/api.h */
    const char *const *allow_origins; /* [allow_origin_count] */
    size_t allow_origin_count;
    const char *passwords, *keys; /* files, see auth/auth.h; NULL: none */
    bool insecure;                /* others may reach it though there are neither */
    /* Computing, as in ballast.h; NULL: the default. */
    int threads;
    size_t text_cache; /* entries */
    const char *isa, *dtype, *vae_dtype, *device;
    const char *taesd, *previews;               /* as ballast_model_options and ballast_generate_options */
    int preview_every;                          /* 0: 1 */
    struct placement placement, placement_from; /* as in jobs/jobs.h */
    bool fair;
    int idle_seconds;
    /* Limits. */
    int64_t most_body, most_pixels, retain; /* bytes, pixels, bytes */
    int most_steps, most_pictures, most_waiting;
    int keepalive_seconds;
    void (*log)(const char *line); /* from any thread */
};

/* Serves from here on, in threads of its own. 0, or a status and *p with the line. */
int server_start(struct server **out, const struct server_options *options, struct problem *p);
/* "http://127.0.0.1:7860". Borrowed. */
const char *server_address(const struct server *server);
/* Takes no more; waits so long for the picture in hand; everybody who waits is told. */
void server_stop(struct server **server, double grace_seconds);
/* Makes a server_stop that waits end; from any thread. */
void server_hurry(struct server *server);

#endif
