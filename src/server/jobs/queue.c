/* The queue, and the functions of the service. */
#include "server/jobs/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* Milliseconds and 32 random bits: ids sort as they were made. */
static void make_id(char id[JOB_ID]) {
    uint32_t random = 0;
    if (getrandom(&random, sizeof random, 0) != sizeof random) {
        random = (uint32_t)clock();
    }
    snprintf(id, JOB_ID, "%011llx%08x", (unsigned long long)(clock_now() * 1000), random);
}

/* FNV-1a: jobs that need the same weights have the same. */
static uint64_t model_of(const json_t *request) {
    const char *texts[] = {json_string_value(json_object_get(request, "model")),
                           json_string_value(json_object_get(request, "vae"))};
    uint64_t hash = 0xcbf29ce484222325;
    for (int i = 0; i < 2; i++) {
        for (const char *c = texts[i] ? texts[i] : "\n"; *c; c++) {
            hash = (hash ^ (unsigned char)*c) * 0x100000001b3;
        }
    }
    return hash ? hash : 1;
}

/* Puts a job where its priority and place belong. Locked. */
static bool enqueue(struct jobs *j, const char *id, double place, int priority, double created,
                    const json_t *request) {
    if (j->queue_count == j->queue_room) {
        int room = j->queue_room ? 2 * j->queue_room : 64;
        struct waiting *grown = realloc(j->queue, (size_t)room * sizeof *grown);
        if (!grown) {
            return false;
        }
        j->queue = grown;
        j->queue_room = room;
    }
    int at = j->queue_count;
    while (at > 0 && (j->queue[at - 1].priority < priority ||
                      (j->queue[at - 1].priority == priority && j->queue[at - 1].place > place))) {
        at--;
    }
    memmove(j->queue + at + 1, j->queue + at, (size_t)(j->queue_count - at) * sizeof *j->queue);
    j->queue[at] = (struct waiting){.place = place,
                                    .priority = priority,
                                    .created = created,
                                    .model = model_of(request),
                                    .alike = together_digest(request)};
    snprintf(j->queue[at].id, JOB_ID, "%s", id);
    j->queue_count++;
    j->next_place = place >= j->next_place ? place + 1 : j->next_place;
    return true;
}

static int find_waiting(const struct jobs *j, const char *id) {
    for (int i = 0; i < j->queue_count; i++) {
        if (!strcmp(j->queue[i].id, id)) {
            return i;
        }
    }
    return -1;
}

static int check_room(struct jobs *j, struct problem *p) {
    if (j->stopping) {
        return problem_set(p, 503, NULL, "the server is going down");
    }
    if (j->queue_count >= j->options.most_waiting) {
        int status = problem_set(p, 429, NULL, "%d jobs wait already, the most that may; try again later",
                                 j->queue_count);
        p->retry_after = 10;
        return status;
    }
    return 0;
}

static int jobs_submit(void *self, const struct submission *s, char id[JOB_ID], struct problem *p) {
    struct jobs *j = self;
    *id = 0;
    if (s->idempotency) {
        int status = j->keeper.find_idempotency(j->keeper.self, s->idempotency, id, p);
        if (status || *id) {
            return status;
        }
    }
    json_t *object = picture_request_json(s->request);
    char *request = object ? json_dumps(object, JSON_COMPACT) : NULL;
    char *asked = s->asked ? json_dumps(s->asked, JSON_COMPACT) : NULL;
    char *warnings = s->warnings ? json_dumps(s->warnings, JSON_COMPACT) : NULL;
    struct kept_job row = {.source = s->source,
                           .request = request,
                           .asked = asked,
                           .idempotency = s->idempotency,
                           .warnings = warnings,
                           .init = s->request->init,
                           .init_bytes = s->request->init_bytes,
                           .created = clock_now(),
                           .priority = s->priority};
    make_id(row.id);
    pthread_mutex_lock(&j->lock);
    int status = request ? check_room(j, p) : problem_set(p, 503, NULL, "out of memory");
    row.place = j->next_place;
    status = status ? status : j->keeper.add(j->keeper.self, &row, p);
    if (!status && !enqueue(j, row.id, row.place, row.priority, row.created, object)) {
        status = problem_set(p, 503, NULL, "out of memory");
    }
    if (!status) {
        pthread_cond_signal(&j->wake);
    }
    pthread_mutex_unlock(&j->lock);
    if (!status) {
        memcpy(id, row.id, JOB_ID);
        tell(j, EVENT_QUEUED, id, NULL, NULL);
    }
    if (status && s->idempotency && !j->keeper.find_idempotency(j->keeper.self, s->idempotency, id, NULL) &&
        *id) {
        status = 0; /* somebody was faster with the same key */
    }
    json_decref(object);
    free(request);
    free(asked);
    free(warnings);
    return status;
}

/* Takes a waiting job out of the queue. 0: done; 409: it is in work; 404. */
static int drop_waiting(struct jobs *j, const char *id, const char *why, struct problem *p) {
    int status = 0;
    pthread_mutex_lock(&j->lock);
    int at = find_waiting(j, id);
    if (at >= 0) {
        memmove(j->queue + at, j->queue + at + 1, (size_t)(j->queue_count - at - 1) * sizeof *j->queue);
        j->queue_count--;
    } else if (running_find(j, id)) {
        status = 409;
    } else {
        status = problem_set(p, 404, NULL, "there is no waiting job %.40s", id);
    }
    pthread_mutex_unlock(&j->lock);
    if (!status) {
        struct kept_end end = {.state = "cancelled", .ended = clock_now(), .error = why};
        status = j->keeper.end(j->keeper.self, id, &end, p);
        tell(j, EVENT_ENDED, id, "cancelled", NULL);
    }
    return status;
}

static int jobs_cancel(void *self, const char *id, struct problem *p) {
    struct jobs *j = self;
    int status = drop_waiting(j, id, "cancelled", p);
    if (status == 409) {
        running_cancel(j, id);
        return 0;
    }
    return status;
}

static void jobs_abandon(void *self, const char *id) {
    drop_waiting(self, id, "the caller left before it began", NULL);
}

/* Priority and place of a job between two others, either of which may be missing. */
static void settle(struct waiting *w, const struct waiting *before, const struct waiting *after) {
    if (after && w->priority < after->priority) {
        w->priority = after->priority;
    }
    if (before && w->priority > before->priority) {
        w->priority = before->priority;
    }
    before = before && before->priority == w->priority ? before : NULL;
    after = after && after->priority == w->priority ? after : NULL;
    if (before && after) {
        w->place = (before->place + after->place) / 2;
    } else if (before) {
        w->place = before->place + 1;
    } else if (after) {
        w->place = after->place - 1;
    }
}

static int jobs_move(void *self, const char *id, int position, struct problem *p) {
    struct jobs *j = self;
    int status = 0;
    pthread_mutex_lock(&j->lock);
    int at = find_waiting(j, id);
    if (at < 0) {
        status = problem_set(p, 404, NULL, "there is no waiting job %.40s", id);
    } else {
        struct waiting w = j->queue[at];
        memmove(j->queue + at, j->queue + at + 1, (size_t)(--j->queue_count - at) * sizeof *j->queue);
        int to = position < 0 ? 0 : position > j->queue_count ? j->queue_count : position;
        const struct waiting *before = to > 0 ? &j->queue[to - 1] : NULL;
        const struct waiting *after = to < j->queue_count ? &j->queue[to] : NULL;
        settle(&w, before, after);
        memmove(j->queue + to + 1, j->queue + to, (size_t)(j->queue_count - to) * sizeof *j->queue);
        j->queue[to] = w;
        j->queue_count++;
        j->next_place = w.place >= j->next_place ? w.place + 1 : j->next_place;
        status = j->keeper.place(j->keeper.self, id, w.place, w.priority, p);
    }
    pthread_mutex_unlock(&j->lock);
    if (!status) {
        tell(j, EVENT_QUEUED, id, NULL, NULL);
    }
    return status;
}

static uint64_t jobs_version(void *self, bool of_work) {
    struct jobs *j = self;
    return atomic_load(&j->versions[of_work]);
}

static int jobs_job(void *self, const char *id, json_t **out, struct problem *p) {
    struct jobs *j = self;
    int status = j->keeper.job(j->keeper.self, id, out, p);
    if (!status) {
        pthread_mutex_lock(&j->lock);
        int at = find_waiting(j, id);
        const struct running *r = running_find(j, id);
        json_t *with = r ? running_others(j, r) : NULL;
        double fraction = r ? r->fraction : -1;
        pthread_mutex_unlock(&j->lock);
        if (at >= 0) {
            json_object_set_new(*out, "position", json_integer(at));
        }
        if (fraction >= 0) {
            json_object_set_new(*out, "progress", json_real(fraction));
        }
        json_t *kept = json_object_get(json_object_get(*out, "report"), "batched_with");
        json_object_set_new(*out, "batched_with", with ? with : kept ? json_incref(kept) : json_array());
    }
    return status;
}

static int jobs_list(void *self, const char *states, char **text, struct problem *p) {
    struct jobs *j = self;
    return j->keeper.jobs(j->keeper.self, states, 100000, text, p);
}

static int jobs_history(void *self, const struct history_wish *wish, json_t **out, struct problem *p) {
    struct jobs *j = self;
    return j->keeper.history(j->keeper.self, wish, out, p);
}

static int jobs_forget(void *self, const char *id, int index, struct problem *p) {
    struct jobs *j = self;
    int status = j->keeper.forget(j->keeper.self, id, index, p);
    jobs_changed(j, true);
    return status;
}

static int jobs_picture(void *self, const char *id, int index, char **png, size_t *bytes, struct problem *p) {
    struct jobs *j = self;
    return j->keeper.picture(j->keeper.self, id, index, png, bytes, p);
}

static void jobs_refresh(void *self) {
    catalogue_refresh(self);
    hashes_start(self);
}

static int jobs_unload(void *self, struct problem *p) {
    struct jobs *j = self;
    pthread_mutex_lock(&j->lock);
    if (j->unload) {
        pthread_mutex_unlock(&j->lock);
        int status = problem_set(p, 503, NULL, "the weights go already, once the picture in hand is done");
        p->retry_after = 5;
        return status;
    }
    j->unload = j->started;
    pthread_cond_signal(&j->wake);
    while (j->unload && j->started && !j->stopping) {
        pthread_cond_wait(&j->idle, &j->lock);
    }
    int result = j->unload_result;
    pthread_mutex_unlock(&j->lock);
    return result ? problem_set(p, 500, NULL, "the device did not give its memory back") : 0;
}

static int jobs_get_setting(void *self, const char *key, char **value, struct problem *p) {
    struct jobs *j = self;
    return j->keeper.get_setting(j->keeper.self, key, value, p);
}

static int jobs_set_setting(void *self, const char *key, const char *value, struct problem *p) {
    struct jobs *j = self;
    return j->keeper.set_setting(j->keeper.self, key, value, p);
}

static void jobs_listen(void *self, void (*on_event)(void *payload, const struct event *event),
                        void *payload) {
    struct jobs *j = self;
    j->on_event = on_event;
    j->payload = payload;
}

void jobs_fill_service(struct jobs *j, struct service *s) {
    *s = (struct service){.self = j,
                          .submit = jobs_submit,
                          .cancel = jobs_cancel,
                          .abandon = jobs_abandon,
                          .move = jobs_move,
                          .interrupt = jobs_interrupt,
                          .progress = jobs_progress,
                          .version = jobs_version,
                          .preview = jobs_preview,
                          .job = jobs_job,
                          .jobs = jobs_list,
                          .history = jobs_history,
                          .forget = jobs_forget,
                          .picture = jobs_picture,
                          .models = jobs_models,
                          .vaes = jobs_vaes,
                          .adapters = jobs_adapters,
                          .embeddings = jobs_embeddings,
                          .find_model = jobs_find_model,
                          .refresh = jobs_refresh,
                          .unload = jobs_unload,
                          .get_setting = jobs_get_setting,
                          .set_setting = jobs_set_setting,
                          .plan = jobs_plan,
                          .residency = jobs_residency,
                          .devices = jobs_devices,
                          .placement = jobs_placement,
                          .place = jobs_place,
                          .totals = jobs_totals,
                          .listen = jobs_listen};
}

int jobs_load_queue(struct jobs *j, struct problem *p) {
    json_t *list, *item;
    size_t i;
    int status = j->keeper.waiting(j->keeper.self, &list, p);
    if (status) {
        return status;
    }
    json_array_foreach(list, i, item) {
        if (!enqueue(j, json_string_value(json_object_get(item, "id")),
                     json_number_value(json_object_get(item, "place")),
                     (int)json_integer_value(json_object_get(item, "priority")),
                     json_number_value(json_object_get(item, "created")), json_object_get(item, "request"))) {
            status = problem_set(p, 503, NULL, "out of memory");
        }
    }
    json_decref(list);
    return status;
}
