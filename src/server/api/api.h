/* What requests mean: routes, fields, the forms of answers, for the APIs that people's tools speak. It gets
 * whole requests as exchanges and asks the service for everything else.
 *
 * How a route is added: write its handler beside those of its kind (sdapi_*.c, openai_*.c, own_*.c), declare
 * it in handlers.h, and give it a row in routes.c: method, path, handler, the fields of its body, the schema
 * of its answer, a sentence. A field of a body is a row, too (fields.h): name, kind, default, range, where it
 * goes, a sentence. Parsing, the texts of 422, /openapi.json and the tables of docs/api.md come from these
 * rows, and a test holds them together. */
#ifndef BALLAST_SERVER_API_API_H
#define BALLAST_SERVER_API_API_H

#include "server/base/exchange.h"
#include "server/base/problem.h"
#include "server/base/service.h"

struct api;

struct api_options {
    int64_t most_pixels; /* of a picture that is asked for, or given */
    int most_steps;
    int most_pictures;     /* of one request */
    int keepalive_seconds; /* blanks before an answer that takes long; 0: none */
    const char *data;      /* folder, for what clients show of it */
    const char *base_path; /* before all paths, as a proxy has it; NULL: none */
    const char *page;      /* folder that the page is read from; NULL: it lies in the program */
    bool taesd;            /* there is a small decoder for drafts, of some family at least */
};

/* 0, or a status and *p. The service must outlive it; api_open becomes its listener. */
int api_open(struct api **out, const struct api_options *options, const struct service *service,
             struct problem *p);
/* Answers an exchange, now or later. */
void api_handle(struct api *api, struct exchange *x);
/* Does a request of this path take its time, or wait for the device? */
bool api_slow(const char *path);
/* Answers it now, from what lies ready, and without waiting for anything; false: it was not touched. */
bool api_quick(struct api *api, struct exchange *x);
/* The body of an answer that says why not, as clients of this path read it; freed by the caller. NULL: no
 * memory. */
char *api_describe(const char *path, const struct problem *p);
/* Everybody who waits gets an answer; nobody waits from now on. */
void api_stop(struct api *api);
void api_close(struct api **api);

#endif
