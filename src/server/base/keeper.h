/* What the room jobs needs to be kept: the room store does it. All calls come from any thread and wait for
 * one another; when they return 0 what they were given survives the end of the process. Failures are a status
 * of HTTP, and *p (may be NULL) says why: 507 where the disk is full. */
#ifndef BALLAST_SERVER_BASE_KEEPER_H
#define BALLAST_SERVER_BASE_KEEPER_H

#include "server/base/problem.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define JOB_ID 24 /* characters of a job's id, with the 0 */

struct kept_job {
    char id[JOB_ID];
    const char *source;      /* which API: "sdapi", "openai", "ballast" */
    const char *request;     /* JSON of the picture_request */
    const char *asked;       /* JSON that the API wants back with the job; NULL: none */
    const char *idempotency; /* key of the caller's, unique; NULL: none */
    const char *warnings;    /* JSON array of texts */
    const void *init;        /* [init_bytes] a picture file, or NULL */
    size_t init_bytes;
    double created; /* seconds since 1970 */
    int priority;
    double place; /* within the queue: smaller is sooner */
};

struct kept_picture {
    int index;
    uint64_t seed;
    int width, height;
    const char *parameters;
    const void *png; /* [bytes] */
    size_t bytes;
};

struct kept_end {
    const char *state; /* "done", "failed", "cancelled" */
    double ended;
    const char *error;    /* a sentence, or NULL */
    int status;           /* of HTTP that goes with it; 0: none */
    const char *report;   /* JSON of ballast_generate, or NULL */
    const char *warnings; /* JSON array of texts */
};

/* Which pictures, from the newest down. */
struct history_wish {
    int limit;
    int64_t before;      /* number of the last one that is known */
    const char *search;  /* within what made it, whatever the case; NULL: any */
    const char *model;   /* its name, as it stands there; NULL: any */
    double since, until; /* made from .. before, seconds since 1970 */
};

struct keeper {
    void *self;
    int (*add)(void *self, const struct kept_job *job, struct problem *p);
    /* A job with this key, if there is one: its id, else "". */
    int (*find_idempotency)(void *self, const char *key, char id[JOB_ID], struct problem *p);
    int (*start)(void *self, const char *id, double started, struct problem *p);
    int (*end)(void *self, const char *id, const struct kept_end *end, struct problem *p);
    int (*place)(void *self, const char *id, double place, int priority, struct problem *p);
    /* The picture as a file, whole, then its row. The same picture again replaces itself. */
    int (*add_picture)(void *self, const char *id, const struct kept_picture *picture, struct problem *p);
    /* The request of a job as it was added; *init (freed by the caller) NULL: none. */
    int (*request)(void *self, const char *id, json_t **request, char **init, size_t *init_bytes,
                   struct problem *p);
    /* What is to be done after a start, in order: an array of {id, place, priority, created, request}. What
     * was running is queued again.
     */
    int (*waiting)(void *self, json_t **list, struct problem *p);
    /* Views. *out becomes a new value. 404: no such job. */
    int (*job)(void *self, const char *id, json_t **out, struct problem *p);
    /* *text, freed by the caller: {"items": [...]}, of jobs in one of the states ",queued,running,". */
    int (*jobs)(void *self, const char *states, int limit, char **text, struct problem *p);
    int (*history)(void *self, const struct history_wish *wish, json_t **out, struct problem *p);
    /* `index`: of the picture that goes; -1: all of them. With its last one goes the job. */
    int (*forget)(void *self, const char *id, int index, struct problem *p);
    /* *png: [*bytes], freed by the caller. */
    int (*picture)(void *self, const char *id, int index, char **png, size_t *bytes, struct problem *p);
    /* The oldest pictures go until those that are left have at most so many bytes. */
    int (*retain)(void *self, int64_t bytes, struct problem *p);
    /* *value (freed by the caller) NULL: never set. */
    int (*get_setting)(void *self, const char *key, char **value, struct problem *p);
    int (*set_setting)(void *self, const char *key, const char *value, struct problem *p);
};

#endif
