/* What the room api asks for: the room jobs does it. All functions may be called from any thread. Those that
 * return an int give 0 or a status of HTTP, and *p says why. Values that come out belong to the caller. */
#ifndef BALLAST_SERVER_BASE_SERVICE_H
#define BALLAST_SERVER_BASE_SERVICE_H

#include "server/base/keeper.h"
#include "server/base/placement.h"
#include "server/base/request.h"

#include <stdbool.h>

struct submission {
    const char *source;
    struct picture_request *request; /* `model` is a title or NULL: the current one; seeds are drawn */
    const json_t *asked;             /* what the API wants back with the job, or NULL */
    const json_t *warnings;          /* array of texts */
    const char *idempotency;         /* NULL: none */
    int priority;
};

struct plan_wish {
    bool compare;           /* a row for each mode */
    int points;             /* 0; or seconds against budget, at so many budgets */
    const char *budget;     /* as --budget takes it; NULL: the one that holds */
    const char *low, *high; /* the smallest and largest of them, as --budget takes them; NULL: from what works
                               at all to what is never short */
};

enum event_kind {
    EVENT_QUEUED,
    EVENT_STARTED,
    EVENT_STEP,
    EVENT_PREVIEW,
    EVENT_PICTURE,
    EVENT_ENDED,
    EVENT_HINT
};

/* Where the job in work stands. */
struct progress {
    char job[JOB_ID]; /* "": nothing is in work */
    char stage[32];
    int step, steps;         /* within the stage */
    int image, images;       /* the first picture of the batch now in work, pictures of the job */
    double fraction;         /* of the whole job, 0 to 1 */
    double started, seconds; /* clock at its begin, and since then */
    bool interrupted, skipped;
    int queued; /* jobs that wait */
};

struct event {
    enum event_kind kind;
    const char *job;
    const char *state; /* of EVENT_ENDED */
    struct progress progress;
    json_t *data; /* or NULL; borrowed */
};

struct service {
    void *self;
    int (*submit)(void *self, const struct submission *s, char id[JOB_ID], struct problem *p);
    int (*cancel)(void *self, const char *id, struct problem *p);
    /* The caller has left: a job that waits is dropped, one in work goes on. */
    void (*abandon)(void *self, const char *id);
    int (*move)(void *self, const char *id, int position, struct problem *p);
    /* Ends the job in work, whichever it is, with the picture as it is by now; `skip`: that picture alone,
     * and the job goes on with its next one. False: there is none. */
    bool (*interrupt)(void *self, bool skip);
    void (*progress)(void *self, struct progress *out);
    /* A number that is another one after a change: of what is kept, or, `of_work`, of the work in hand as
     * well. */
    uint64_t (*version)(void *self, bool of_work);
    /* The newest preview of a job in work as PNG; *png (freed by the caller) NULL: there is none. */
    void (*preview)(void *self, const char *id, char **png, size_t *bytes);
    int (*job)(void *self, const char *id, json_t **out, struct problem *p);
    /* *text, freed by the caller: {"items": [...]}. */
    int (*jobs)(void *self, const char *states, char **text, struct problem *p);
    int (*history)(void *self, const struct history_wish *wish, json_t **out, struct problem *p);
    /* `index`: of the picture that goes; -1: all of them. With its last one goes the job. */
    int (*forget)(void *self, const char *id, int index, struct problem *p);
    int (*picture)(void *self, const char *id, int index, char **png, size_t *bytes, struct problem *p);
    /* [{title, model_name, filename, hash, sha256, family}], {title, ...} of VAEs alike. */
    json_t *(*models)(void *self);
    json_t *(*vaes)(void *self);
    /* As ballast_adapters_list has them. */
    json_t *(*adapters)(void *self);
    /* As ballast_embeddings_list has them. */
    json_t *(*embeddings)(void *self);
    /* The title of a model known by any of its names; freed by the caller. 404 with the nearest names. */
    int (*find_model)(void *self, const char *name, char **title, struct problem *p);
    void (*refresh)(void *self);
    /* All weights go; they come back with the next picture. Waits for the picture in hand. */
    int (*unload)(void *self, struct problem *p);
    int (*get_setting)(void *self, const char *key, char **value, struct problem *p);
    int (*set_setting)(void *self, const char *key, const char *value, struct problem *p);
    /* What a request would cost, and nothing is computed: what ballast_plan says, with `from` ("device": with
     * what lies there now; "empty") and `warnings`, an array of lines, beside it. */
    int (*plan)(void *self, const struct picture_request *request, const struct plan_wish *wish, json_t **out,
                struct problem *p);
    /* Where the weights of all open models lie now. 503: the device does not come to answer. */
    int (*residency)(void *self, json_t **out, struct problem *p);
    json_t *(*devices)(void *self);
    /* How weights are placed from the next picture on, a text or null by name; in `started` how the server
     * was started, and in `from` who said so then. NULL: no memory. */
    json_t *(*placement)(void *self);
    /* NULL leaves a text as it is, "" gives it the value back that the server was started with. */
    int (*place)(void *self, const struct placement *wish, struct problem *p);
    /* What has been done since the start, see jobs/totals.c. */
    json_t *(*totals)(void *self);
    /* One listener, called in a thread of its own, in order. */
    void (*listen)(void *self, void (*on_event)(void *payload, const struct event *event), void *payload);
};

#endif
