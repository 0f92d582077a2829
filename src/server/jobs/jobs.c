#include "server/jobs/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void log_nothing(const char *line) {
    (void)line;
}

/* Copies of the texts: the caller's may go. */
static bool copy_options(struct jobs_options *own, const struct jobs_options *o) {
    const char *const *from[] = {&o->models,   &o->isa,        &o->dtype, &o->vae_dtype, &o->device,
                                 &o->adapters, &o->embeddings, &o->taesd, &o->previews};
    const char **to[] = {&own->models,   &own->isa,        &own->dtype, &own->vae_dtype, &own->device,
                         &own->adapters, &own->embeddings, &own->taesd, &own->previews};
    bool good = true;
    *own = *o;
    own->log = o->log ? o->log : log_nothing;
    for (size_t i = 0; i < sizeof to / sizeof *to; i++) {
        *to[i] = *from[i] ? strdup(*from[i]) : NULL;
        good = good && (!*from[i] || *to[i]);
    }
    good = placement_copy(&own->placement, &o->placement) && good;
    return placement_copy(&own->placement_from, &o->placement_from) && good;
}

int jobs_open(struct jobs **out, const struct jobs_options *options, const struct keeper *keeper,
              struct service *service, struct problem *p) {
    *out = NULL;
    struct jobs *j = calloc(1, sizeof *j);
    if (!j) {
        return problem_set(p, 500, NULL, "out of memory");
    }
    pthread_mutex_init(&j->lock, NULL);
    pthread_mutex_init(&j->hash_lock, NULL);
    pthread_mutex_init(&j->tell_lock, NULL);
    pthread_mutex_init(&j->task_lock, NULL);
    pthread_cond_init(&j->wake, NULL);
    pthread_cond_init(&j->idle, NULL);
    pthread_cond_init(&j->tell_wake, NULL);
    j->last = &j->first;
    j->keeper = *keeper;
    int status = copy_options(&j->options, options) ? 0 : problem_set(p, 500, NULL, "out of memory");
    status = status ? status : device_open(j, p);
    if (!status) {
        catalogue_refresh(j);
        status = j->catalogue.model_count
                     ? 0
                     : problem_set(
                           p, 400, "models",
                           "%s: no checkpoint is there: a .safetensors or .gguf file, or a diffusers folder",
                           options->models);
    }
    status = status ? status : jobs_load_queue(j, p);
    if (status) {
        jobs_close(&j);
        return status;
    }
    jobs_fill_service(j, service);
    *out = j;
    return 0;
}

int jobs_start(struct jobs *j, struct problem *p) {
    if (tell_start(j)) {
        return problem_set(p, 500, NULL, "no thread could be started");
    }
    j->started = true;
    if (pthread_create(&j->worker, NULL, worker_main, j)) {
        j->started = false;
        return problem_set(p, 500, NULL, "no thread could be started");
    }
    hashes_start(j);
    return 0;
}

void jobs_stop(struct jobs *j, double grace_seconds) {
    struct timespec until;
    pthread_mutex_lock(&j->lock);
    bool runs = j->started;
    j->stopping = true;
    pthread_cond_broadcast(&j->wake);
    pthread_cond_broadcast(&j->idle);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)grace_seconds;
    int rc = 0;
    while (j->started && !j->hurried && rc != ETIMEDOUT) {
        rc = pthread_cond_timedwait(&j->idle, &j->lock, &until);
    }
    if (j->started) {
        atomic_store(&j->stopped, true);
    }
    pthread_mutex_unlock(&j->lock);
    if (runs) {
        pthread_join(j->worker, NULL);
    }
    hashes_stop(j);
    tell_stop(j);
}

void jobs_hurry(struct jobs *j) {
    pthread_mutex_lock(&j->lock);
    j->hurried = true;
    pthread_cond_broadcast(&j->idle);
    pthread_mutex_unlock(&j->lock);
}

void jobs_close(struct jobs **jobs) {
    struct jobs *j = *jobs;
    if (j) {
        plan_close(j);
        device_close(j);
        if (j->described > 0) {
            close(j->described);
        }
        placement_free(&j->placement);
        json_decref(j->totals.stages);
        catalogue_free(&j->catalogue);
        for (int i = 0; i < j->owed_count; i++) {
            free((void *)j->owed[i].end.error);
        }
        free(j->owed);
        free(j->queue);
        running_clear(j);
        placement_free(&j->options.placement);
        placement_free(&j->options.placement_from);
        const char *texts[] = {j->options.models,     j->options.isa,    j->options.dtype,
                               j->options.vae_dtype,  j->options.device, j->options.adapters,
                               j->options.embeddings, j->options.taesd,  j->options.previews};
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
            free((void *)texts[i]);
        }
        pthread_mutex_destroy(&j->lock);
        pthread_mutex_destroy(&j->hash_lock);
        pthread_mutex_destroy(&j->tell_lock);
        pthread_mutex_destroy(&j->task_lock);
        pthread_cond_destroy(&j->wake);
        pthread_cond_destroy(&j->idle);
        pthread_cond_destroy(&j->tell_wake);
        free(j);
    }
    *jobs = NULL;
}
