/* How weights are placed: as the server was started, until somebody asks for something else while it
 * serves. */
#include "server/jobs/internal.h"

#include <stdlib.h>
#include <string.h>

void placement_free(struct placement *placement) {
    free(placement->offload);
    free(placement->budget);
    free(placement->reserve);
    free(placement->host_budget);
    *placement = (struct placement){0};
}

static char *copy(const char *text) {
    return text ? strdup(text) : NULL;
}

/* What holds now: copies. */
static struct placement current(struct jobs *j) {
    const struct jobs_options *o = &j->options;
    pthread_mutex_lock(&j->lock);
    struct placement now = {copy(j->placement.offload ? j->placement.offload : o->offload),
                            copy(j->placement.budget ? j->placement.budget : o->budget),
                            copy(j->placement.reserve ? j->placement.reserve : o->reserve),
                            copy(o->host_budget)};
    pthread_mutex_unlock(&j->lock);
    return now;
}

static int apply(const struct placement *placement, ballast_context *context, struct problem *p) {
    ballast_placement_options o;
    ballast_error err = {0};
    ballast_placement_options_init(&o, sizeof o);
    o.offload = placement->offload;
    o.budget = placement->budget;
    o.reserve = placement->reserve;
    o.host_budget = placement->host_budget;
    return ballast_context_place(context, &o, &err) ? problem_set(p, 422, NULL, "%s", err.message) : 0;
}

int placement_apply(struct jobs *j, ballast_context *context, struct problem *p) {
    struct placement now = current(j);
    int status = apply(&now, context, p);
    placement_free(&now);
    return status;
}

static json_t *text_or_null(const char *text) {
    return text ? json_string(text) : json_null();
}

json_t *jobs_placement(void *self) {
    struct placement now = current(self);
    json_t *object = json_pack("{s:s, s:o, s:o}", "offload", now.offload ? now.offload : "auto", "budget",
                               text_or_null(now.budget), "reserve", text_or_null(now.reserve));
    placement_free(&now);
    return object;
}

/* A wish laid over what holds; "" is what the server was started with. */
static bool lay_over(char **at, const char *wish, const char *started) {
    if (!wish) {
        return true;
    }
    free(*at);
    *at = copy(*wish ? wish : started);
    return *at || (!*wish && !started);
}

int jobs_place(void *self, const char *offload, const char *budget, const char *reserve, struct problem *p) {
    struct jobs *j = self;
    pthread_mutex_lock(&j->task_lock);
    struct placement wanted = current(j);
    int status = j->plan_context ? 0 : device_context(j, &j->plan_context, p);
    if (!status && !(lay_over(&wanted.offload, offload, j->options.offload) &&
                     lay_over(&wanted.budget, budget, j->options.budget) &&
                     lay_over(&wanted.reserve, reserve, j->options.reserve))) {
        status = problem_set(p, 503, NULL, "out of memory");
    }
    status = status ? status : apply(&wanted, j->plan_context, p);
    if (!status) {
        pthread_mutex_lock(&j->lock);
        placement_free(&j->placement);
        j->placement = wanted;
        j->placed = false;
        pthread_mutex_unlock(&j->lock);
    } else {
        placement_free(&wanted);
    }
    pthread_mutex_unlock(&j->task_lock);
    return status;
}
