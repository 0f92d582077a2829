/* What the files of the room jobs share. */
#ifndef BALLAST_SERVER_JOBS_INTERNAL_H
#define BALLAST_SERVER_JOBS_INTERNAL_H

#include "ballast.h"
#include "server/jobs/jobs.h"

#include <pthread.h>
#include <stdatomic.h>

/* A checkpoint or VAE that was found. */
struct model_entry {
    char *title; /* path below the folder: never changes, and is what clients compare */
    char *name;  /* the title without suffix, '_' for '/' */
    char *path;
    bool folder;
    char family[32];  /* "" where it was not found out */
    json_int_t bytes; /* of its weights as the device holds them; 0 likewise */
    int steps;        /* what its file recommends; 0: nothing */
    double cfg;       /* likewise; -1 */
    double guidance;  /* the same of what its network is told of it; -1: it is told nothing */
    int multiple;     /* of pixels: what sides of its pictures are; 0 where it was not found out */
    char sampler[32]; /* that its family needs another than all others; "" */
    char sha256[65];  /* "" until it is known */
};

struct catalogue {
    struct model_entry *models, *vaes;
    int model_count, vae_count;
};

/* A checkpoint that is open on the device's context. */
struct open_model {
    char *title, *vae; /* vae: title, or NULL */
    ballast_model *model;
    uint64_t used;   /* counts jobs: the last one that used it */
    bool taesd;      /* it has one */
    double released; /* bytes that an idle hour cost it, until its next picture; 0: none */
};
#define MOST_OPEN 8

struct waiting {
    char id[JOB_ID];
    double place, created;
    int priority;
    int passed;     /* how many jobs that came later were taken before it */
    uint64_t model; /* a digest of model and VAE */
    uint64_t alike; /* of all of its request but the seed; 0: it is computed alone */
};

enum want_end { GO_ON, INTERRUPTED, CANCELLED };

/* A job in work. */
struct running {
    char id[JOB_ID];
    int first, count; /* its pictures among those that are computed together; none: it is not its turn */
    uint64_t seed;
    enum want_end want;
    int skipped;        /* pictures before this one, of all, are enough as they are */
    bool ending, ended; /* too late for anything; it was told */
    int kept;           /* pictures */
    double fraction;
    uint8_t *preview; /* [height, width, 3], or NULL */
    int width, height;
    char *png; /* of the preview; NULL: not encoded yet */
    size_t png_bytes;
};
#define MOST_TOGETHER 8 /* pictures of jobs that are computed together */

/* What the worker works on: the jobs in `running`, whose requests differ in their seeds alone. */
struct work {
    struct jobs *j;
    struct picture_request request;
    ballast_generate_options options; /* of it */
    ballast_model *model;
    double rested;                 /* bytes of it that were given back before, as there was nothing to do */
    uint8_t *rgb;                  /* of the picture to start from, or NULL */
    uint64_t seeds[MOST_TOGETHER]; /* of the pictures, where several jobs are computed together */
    int offset;                    /* what the library counts as picture 0 */
    struct problem problem;        /* of a callback */
    int image;                     /* the batch in work begins with */
    bool stepped;                  /* a step of it was made */
};
#define MOST_PASSED 4
#define MOST_PATIENCE 60.0 /* seconds that a job may have waited and still be passed over */

#define MOST_UPCOMING 3 /* jobs of the queue that a plan takes in */

struct upcoming {
    struct picture_request requests[MOST_UPCOMING];
    ballast_generate_options options[MOST_UPCOMING];
    ballast_expected expected[MOST_UPCOMING];
    int count;
};

/* Work of a moment for the thread that owns the device. */
struct task {
    void (*run)(struct jobs *j, void *payload);
    void *payload;
    bool beside; /* may be done between two blocks of a picture, too */
    enum { TASK_WAITS, TASK_RUNS, TASK_DONE } state;
};

/* What has been done since the start. */
struct totals {
    json_t *stages; /* seconds by name */
    double moved_bytes, kept_bytes;
    double text_hits, text_misses;   /* chunks that were found encoded, and those that were encoded */
    double text_entries, text_bytes; /* of the cache of encodings, as they were last seen */
    json_int_t done, failed, cancelled, pictures, hints, reloads_avoided;
    double resident_bytes, region_bytes, budget_bytes; /* as they were last seen */
};

struct message {
    struct message *next;
    enum event_kind kind;
    char job[JOB_ID];
    char state[16];
    json_t *data;
};

/* An end that the disk had no room for; without report and warnings. `error` is its own. */
struct owed_end {
    char id[JOB_ID];
    struct kept_end end;
};

struct jobs {
    struct keeper keeper;
    struct jobs_options options; /* texts are our own copies */
    pthread_mutex_t lock;        /* of all below, but for what the worker alone touches */
    pthread_cond_t wake;         /* the worker: work, or an end */
    pthread_cond_t idle;         /* who waits for the worker */

    struct waiting *queue; /* [queue_count], in the order of work */
    int queue_count, queue_room;
    bool stopping, hurried, started;
    bool unload; /* asked of the worker */
    int unload_result;
    double next_place;
    uint64_t last_model;  /* of the job that was taken last; 0: none */
    char note[96];        /* on the order of the job in work */
    struct waiting taken; /* the first job in work, and where it stood in the queue */
    int taken_at;

    struct running running[MOST_TOGETHER]; /* [running_count], those in work */
    int running_count;
    bool apart;                /* they could not be computed together, and are one after the other */
    struct progress now;       /* of all of them together; its job, fraction and marks are not used */
    int now_batch;             /* pictures of the batch in work */
    pthread_mutex_t hash_lock; /* of who starts and ends that thread */
    pthread_t hasher;
    bool hashes, hashed_enough;       /* it runs; it is not started any more */
    atomic_bool no_hash;              /* it is to end */
    atomic_bool stopped;              /* the work in hand is not finished any more */
    atomic_uint_fast64_t versions[2]; /* of what is kept, of that and the work in hand */
    json_t *warnings;                 /* of the job or plan in work; the worker's alone */
    bool plans;                       /* it is a plan; the worker's alone */

    struct catalogue catalogue;
    struct task *task; /* at most one, by who has task_lock */
    struct totals totals;
    struct placement placement; /* asked for while serving; NULL: as the server was started */
    bool placed;                /* the device's context has this placement */

    pthread_mutex_t task_lock;     /* taken before `lock`; of what follows */
    ballast_context *plan_context; /* plans are made here while the device is at work; NULL: not yet */
    struct open_model plan_model;
    json_t *plan_warnings; /* of the plan that is made there */
    int described;         /* a file that describes the device; 0: it may be opened twice */

    /* The worker's alone. */
    pthread_t worker;
    ballast_context *context; /* NULL: the device gave up, and cannot be opened again yet */
    bool device_failed;       /* it gave up since it was opened */
    struct open_model open[MOST_OPEN];
    int open_count;
    bool released; /* nothing was done since its memory was given back */
    uint64_t jobs_done;
    struct owed_end *owed; /* the worker's alone */
    int owed_count;

    /* Events on their way to the listener. */
    pthread_t teller;
    pthread_mutex_t tell_lock;
    pthread_cond_t tell_wake;
    struct message *first, **last;
    bool step_pending, preview_pending, tell_stop, teller_runs;
    void (*on_event)(void *payload, const struct event *event);
    void *payload;
};

double clock_now(void); /* seconds since 1970 */
/* Something is other than before: what is kept, or only the work in hand. */
void jobs_changed(struct jobs *j, bool kept);

/* ---- events.c */

int tell_start(struct jobs *j);
void tell_stop(struct jobs *j);
/* Takes `data`, which may be NULL. */
void tell(struct jobs *j, enum event_kind kind, const char *job, const char *state, json_t *data);

/* ---- models.c */

/* Finds what there is in the folder. Safe beside the worker. */
void catalogue_refresh(struct jobs *j);
void catalogue_free(struct catalogue *c);
json_t *jobs_models(void *self);
json_t *jobs_adapters(void *self);
json_t *jobs_embeddings(void *self);
json_t *jobs_vaes(void *self);
int jobs_find_model(void *self, const char *name, char **title, struct problem *p);
/* Copies the path of a title; NULL: there is none, or no memory. */
char *catalogue_path(struct jobs *j, const char *title, bool vae);

/* ---- hashes.c: SHA-256 of the checkpoints, in a thread of its own, kept */

void hashes_start(struct jobs *j); /* or anew */
void hashes_stop(struct jobs *j);  /* for good */

/* ---- queue.c */

void jobs_fill_service(struct jobs *j, struct service *s);
int jobs_load_queue(struct jobs *j, struct problem *p);

/* ---- device.c: the worker's thread alone */

int device_open(struct jobs *j, struct problem *p);
/* Another context to plan in, with the same options; of a card on its description. From any thread; close
 * with ballast_context_close. */
int device_context(struct jobs *j, ballast_context **out, struct problem *p);
/* Opens the model of out->title and out->vae in the catalogue. From any thread. */
int device_open_model(struct jobs *j, ballast_context *context, struct open_model *out, struct problem *p);
/* Has this model of the device a TAESD? On the device's thread. */
bool device_has_taesd(const struct jobs *j, const ballast_model *model);
/* How previews are made: as was asked for; where that is by TAESD, and the model has none (`taesd`), linear.
 * From any thread. */
void fill_previews(ballast_generate_options *o, const struct jobs *j, bool taesd);
void device_close(struct jobs *j);
/* Opens the device anew after it gave up, with nothing on it. Where that fails, *p says why, and who needs it
 * next tries again. */
int device_again(struct jobs *j, struct problem *p);
/* The model of a title, opened if need be. */
int device_model(struct jobs *j, ballast_model **out, const char *title, const char *vae, struct problem *p);
/* Would it be opened without closing another one? */
bool device_has_room(const struct jobs *j, const char *title, const char *vae);
int device_unload(struct jobs *j);
/* The same because there is nothing to do: what that costs is told with the model's next picture. */
void device_rest(struct jobs *j);
/* Bytes of the model that it gave back so; 0 when it is asked again. */
double device_rested(struct jobs *j, const ballast_model *model);

/* ---- running.c */

/* Locked, all but the three of the service. A job that has ended is none any more. */
struct running *running_find(struct jobs *j, const char *id); /* NULL: it is not in work */
struct running *running_first(struct jobs *j);                /* NULL: nothing is in work */
struct running *running_of(struct jobs *j, int index);        /* whose picture that is; ended ones, too */
void running_begin(struct running *r, const char *id);
void running_clear(struct jobs *j);
/* `part` of the batch in work, which begins with `image`, is done. */
void running_advance(struct jobs *j, const ballast_progress *b, int image, double part);
/* Where the job stands; NULL: nothing is in work. */
void running_progress(const struct jobs *j, const struct running *r, struct progress *out);
void running_show(struct running *r, const ballast_image *preview);
json_t *running_others(const struct jobs *j, const struct running *r);
void jobs_progress(void *self, struct progress *out);
bool jobs_interrupt(void *self, bool skip);
void jobs_preview(void *self, const char *id, char **png, size_t *bytes);
/* Not locked. */
void running_cancel(struct jobs *j, const char *id);

/* ---- together.c */

uint64_t together_digest(const json_t *request);
/* Chooses how the pictures of the work are computed: takes in jobs that wait and differ only in their seeds,
 * or more of its own pictures at once, where the plan says that it pays. */
void together_gather(struct work *w);

/* ---- next.c */

void fill_options(ballast_generate_options *o, const struct jobs *j, const struct picture_request *r);
/* The worker's thread alone. The texts belong to *up. */
void next_gather(struct jobs *j, struct upcoming *up);
void next_free(struct upcoming *up);
/* ---- tasks.c */

/* Runs a task in the worker's thread. False: it did not come to that, and never will. */
bool task_run(struct jobs *j, struct task *task, double seconds);
/* The worker looks for one; `beside`: it is between two blocks. Locked, and unlocked meanwhile. */
void task_serve(struct jobs *j, bool beside);

/* ---- look.c */

/* Residency of all open models; the worker's thread alone. NULL: no memory. */
json_t *look_residency(struct jobs *j);
int jobs_residency(void *self, json_t **out, struct problem *p);
json_t *jobs_devices(void *self);

/* ---- placement.c */

json_t *jobs_placement(void *self);
int jobs_place(void *self, const struct placement *wish, struct problem *p);
/* Gives a context the placement that holds now; the context is the caller's alone. */
int placement_apply(struct jobs *j, ballast_context *context, struct problem *p);
bool placement_copy(struct placement *out, const struct placement *from); /* false: no memory */
void placement_free(struct placement *placement);

/* ---- plan.c */

int jobs_plan(void *self, const struct picture_request *r, const struct plan_wish *wish, json_t **out,
              struct problem *p);
void plan_close(struct jobs *j);

/* ---- totals.c: the worker's thread alone, but for jobs_totals */

/* A job begins on this model: what of it is there need not be loaded. */
void totals_before(struct jobs *j, ballast_model *model);
/* What lies on the device has changed. */
void totals_look(struct jobs *j);
void totals_after(struct jobs *j, const char *state, int pictures, const json_t *report);
json_t *jobs_totals(void *self);

/* ---- make.c: the worker's thread alone, but for make_start */

#define CANCELLED_STATUS 499 /* somebody did not want it any more */

/* The pixels of its start picture number `n`, if it has any; *rgb, which may hold one, is freed with
 * ballast_bytes_free. */
int make_start(ballast_generate_options *o, uint8_t **rgb, const struct picture_request *r, int n,
               struct problem *p);
/* What the first job in work asks for, and its model. 0, or a status and *p. */
int make_prepare(struct work *w, struct problem *p);
/* All pictures of the jobs in work. *report: NULL, or one more; owned by the caller. */
int make_compute(struct work *w, json_t **report, struct problem *p);

/* ---- worker.c */

void *worker_main(void *jobs);

/* The status of HTTP for an error of the library. */
int status_of(int code);
/* The same where a request names what is not there: not the address, but the request is wrong. */
int status_of_request(int code);
/* Fills *p with what the library refused. Flags of the command that it names, and requests have as
 * fields, are called so. Returns `status`. */
int refuse_request(struct problem *p, int status, const ballast_error *err);

#endif
