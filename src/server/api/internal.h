/* What the files of the room api share. */
#ifndef BALLAST_SERVER_API_INTERNAL_H
#define BALLAST_SERVER_API_INTERNAL_H

#include "server/api/api.h"
#include "server/api/fields.h"
#include "server/api/multipart.h"

#include <jansson.h>
#include <pthread.h>

#define CALL_PARTS 2

#define BODIES_REMEMBERED 64

struct waiter;
struct events;
struct held;

/* A request whose job may be joined by its retries. */
struct remembered {
    char digest[65];
    char job[JOB_ID];
};

struct api {
    struct api_options options;
    struct service service;
    pthread_mutex_t step_lock; /* taken before `lock`: steps are being told */
    pthread_mutex_t lock;      /* of what follows */
    struct waiter *waiters;
    struct remembered bodies[BODIES_REMEMBERED];
    int next_body;
    bool stopped;
    struct events *events;
    struct held *held;
    pthread_t ticker;
    pthread_cond_t tick;
    bool ticks;
};

/* A request on its way through its handler. */
struct call {
    struct api *api;
    struct exchange *x;
    const struct route *route;
    char parts[CALL_PARTS][64]; /* what stands for {id} and the like in the path */
    uint64_t versions[2];       /* of what is kept, and of the work in hand, before it was looked at */
    json_t *body;               /* of routes that read one: an object; freed after the handler */
    struct part *form;          /* [part_count] of a multipart body; texts of it are in `body`, too */
    int part_count;
};

enum route_body {
    BODY_NONE,     /* whatever is sent is passed over */
    BODY_OPTIONAL, /* an object, or nothing that counts */
    BODY_JSON,     /* an object has to be there */
    BODY_FORM      /* multipart/form-data, or an object */
};

struct route {
    const char *method, *path;
    void (*handle)(struct call *call);
    enum route_body body;
    const struct field *fields; /* of the body, or NULL */
    const char *answer;         /* as schema_type takes it, or a type of MIME; NULL: anything */
    const char *summary;
};

extern const struct route routes[];
extern const int route_count;

/* What may stand behind the '?'. */
struct route_query {
    const char *method, *path; /* NULL ends the table */
    const struct field *fields[3];
};
extern const struct route_query route_queries[];

/* ---- reply.c: each reply_ ends the exchange */

/* Bytes of options.base_path that stand before a path: without a / at its end. */
int base_path_length(const struct api *api);
/* Takes the value; NULL is out of memory. */
void reply_json(struct exchange *x, int status, json_t *value);
void reply_problem(struct exchange *x, const struct problem *p);
void reply_bytes(struct exchange *x, const char *type, char *bytes, size_t count);
/* Clients of OpenAI's API read errors in another form. */
bool is_openai_path(const char *path);

/* ---- waits.c: who waits for the end of a job */

typedef void waiter_done(struct api *api, struct exchange *x, bool streaming, const json_t *job,
                         void *payload);

/* `done` is called once, when the job has ended, with its view; `streaming`: the exchange already sends. It
 * ends the exchange. A caller who leaves meanwhile lets a job that waits be dropped. `free_payload` may be
 * NULL. */
void wait_for(struct call *call, const char *job, waiter_done *done, void *payload);
/* The same on a stream that has begun; `step` hears of each preview on the way. */
typedef void waiter_step(struct api *api, struct exchange *x, const struct progress *now, void *payload);
void wait_streaming(struct call *call, const char *job, waiter_step *step, waiter_done *done, void *payload);
void waits_event(struct api *api, const struct event *event);
int waits_start(struct api *api);
void waits_stop(struct api *api);

/* ---- picture_text.c */

/* A job's picture in base64, as "png", "jpeg" or "webp"; freed by the caller. NULL: *p says why not. */
char *picture_text(struct api *api, const char *job, int index, const char *format, int quality,
                   struct problem *p);

/* ---- retries.c: SDKs send a request again when it took too long for them */

/* True: this is a retry of a request whose job is in hand or done, and `id` is that job's. */
bool join_retry(const struct call *c, char id[JOB_ID]);
void remember_body(const struct call *c, const char *id);
/* In hex, of path, `who` (NULL: whoever asks) and body. False: it cannot be had. */
bool body_digest(const struct call *c, const char *who, char out[65]);

/* ---- events.c: who listens to all that happens */

int events_open(struct api *api);
void events_tell(struct api *api, const struct event *event);
/* Once a second. */
void events_tick(struct api *api);
void events_close(struct api *api);

/* ---- held.c: answers that hold until something changes */

int held_open(struct api *api);
void held_close(struct api *api);
/* Answers 200 with the value, which it takes; NULL is out of memory. The same is answered for so many
 * seconds, as long as nothing changes of what is kept, or, `of_work`, of the work in hand. */
void reply_held(struct call *c, bool of_work, double seconds, json_t *value);
void reply_held_text(struct call *c, bool of_work, double seconds, char *json);

/* ---- schemas.c */

/* A JSON Schema of "string", "Job", "[Model]", "object?"; of all that such texts name. NULL: no memory. */
json_t *schema_type(const char *text);
json_t *schemas_all(void);

/* ---- sdapi_lists.c */

const char *schedule_label(const char *name);

#endif
