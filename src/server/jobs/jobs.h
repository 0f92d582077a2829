/* The queue, the checkpoints, and the one thread that owns the device. Work reaches it through the `service`
 * that jobs_open fills; it keeps what it promises with a `keeper`, and computes through ballast.h alone. */
#ifndef BALLAST_SERVER_JOBS_JOBS_H
#define BALLAST_SERVER_JOBS_JOBS_H

#include "server/base/keeper.h"
#include "server/base/service.h"

struct jobs;

struct jobs_options {
    const char *models;              /* folder of checkpoints */
    const char *adapters;            /* folders of adapters, ':' between them */
    const char *embeddings;          /* the same of embeddings */
    int threads;                     /* 0: as ballast_context_options */
    size_t text_cache;               /* as in ballast_context_options */
    const char *isa;                 /* NULL: "auto" */
    const char *dtype;               /* NULL: "auto" */
    const char *vae_dtype;           /* NULL: as dtype */
    const char *taesd;               /* as ballast_model_options; NULL: none */
    const char *previews;            /* NULL: "linear" */
    int preview_every;               /* 0: 1 */
    struct placement placement;      /* as ballast_placement_options */
    struct placement placement_from; /* who said so: "--budget", "BALLAST_BUDGET", a file */
    const char *device;              /* NULL: as ballast_context_options */
    bool fair;            /* jobs may be taken a little before their turn where that saves loading */
    int idle_seconds;     /* after which memory is given back; 0: never */
    int most_waiting;     /* jobs; more are refused with 429 */
    int64_t retain_bytes; /* of pictures in the history; 0: all */
    /* A line for the operator; may be called from any thread. */
    void (*log)(const char *line);
};

/* 0, or a status and *p. The keeper must outlive it. Jobs that were kept are in the queue again; the worker
 * starts with jobs_start. */
int jobs_open(struct jobs **out, const struct jobs_options *options, const struct keeper *keeper,
              struct service *service, struct problem *p);
int jobs_start(struct jobs *jobs, struct problem *p);
/* No job is begun any more. The one in hand has so many seconds to end; after that it is stopped, and queued
 * again at the next start. Returns when the worker is idle. */
void jobs_stop(struct jobs *jobs, double grace_seconds);
/* Makes a jobs_stop that waits end at once; from any thread. */
void jobs_hurry(struct jobs *jobs);
void jobs_close(struct jobs **jobs);

#endif
