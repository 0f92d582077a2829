/* Which pictures are computed together. Jobs that stand next to each other and differ only in their seeds,
 * and the pictures of one job, may share each pass over the weights: where the plan says that it pays. Each
 * picture has the bits that it has alone (docs/accuracy.md). */
#include "server/jobs/internal.h"

#include <stdlib.h>
#include <string.h>

#define PAYS 0.97 /* of the seconds one after the other */

/* All of a request without variation but its seeds; NULL: no memory. */
static char *without_seed(const json_t *request) {
    json_t *copy = json_copy((json_t *)request);
    json_object_del(copy, "seed");
    json_object_del(copy, "variation_seed"); /* drawn, and of no use */
    char *text = json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(copy);
    return text;
}

uint64_t together_digest(const json_t *request) {
    uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */
    char *text = json_number_value(json_object_get(request, "variation_strength")) > 0
                     ? NULL /* there it is not the seed that counts up */
                     : without_seed(request);
    for (const char *c = text; c && *c; c++) {
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3;
    }
    hash = text && !hash ? 1 : text ? hash : 0;
    free(text);
    return hash;
}

/* ---- what it would cost */

struct cost {
    double seconds, compute; /* a batch of those that follow each other; what of it is computing */
    bool measured;           /* else estimated */
};

static double number(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

/* False: it does not work so. */
static bool cost_of(struct cost *out, struct work *w, int batch) {
    ballast_generate_options o = w->options;
    ballast_expected nothing = {0};
    char *text = NULL;
    o.batch = batch;
    o.count = 2;
    o.next = &nothing; /* a list of none */
    o.next_count = 0;
    if (ballast_plan(&text, NULL, w->model, &o, NULL, NULL)) {
        return false;
    }
    json_t *plan = json_loads(text, 0, NULL), *phases = json_object_get(plan, "phases"), *phase;
    size_t i;
    *out = (struct cost){.seconds = number(plan, "seconds")};
    json_array_foreach(phases, i, phase) {
        out->compute += number(phase, "compute_seconds");
    }
    out->measured = number(plan, "phases_measured") >= (double)json_array_size(phases);
    ballast_string_free(&text);
    json_decref(plan);
    return out->seconds > 0;
}

/* Are `batch` pictures at once sooner done than as many as the request says, one batch after the other? What
 * was measured is not held against what was guessed: there as much is taken to be computed. */
static bool pays(struct work *w, int batch) {
    struct cost one, all;
    double times = (double)batch / w->request.batch;
    if (!cost_of(&one, w, w->request.batch) || !cost_of(&all, w, batch)) {
        return false;
    }
    double seconds =
        one.measured == all.measured ? all.seconds : times * one.compute + all.seconds - all.compute;
    return seconds < PAYS * times * one.seconds;
}

/* ---- who comes along */

struct mate {
    char id[JOB_ID];
    uint64_t seed;
};

/* The jobs behind the one that was taken, as far as they look alike. */
static int candidates(struct jobs *j, struct mate mates[MOST_TOGETHER], int most) {
    int count = 0;
    pthread_mutex_lock(&j->lock);
    for (int i = j->taken_at; i < j->queue_count && count < most && j->taken.alike; i++) {
        const struct waiting *q = &j->queue[i];
        if (q->alike != j->taken.alike || q->priority != j->taken.priority) {
            break;
        }
        memcpy(mates[count++].id, q->id, JOB_ID);
    }
    pthread_mutex_unlock(&j->lock);
    return count;
}

/* Whether it is the same but for the seed, which is put down. */
static bool is_alike(struct work *w, const char *own, struct mate *mate) {
    json_t *object = NULL;
    char *init = NULL;
    size_t bytes = 0;
    struct jobs *j = w->j;
    bool same = !j->keeper.request(j->keeper.self, mate->id, &object, &init, &bytes, NULL);
    char *text = same ? without_seed(object) : NULL;
    same = text && !strcmp(text, own) && bytes == w->request.init_bytes &&
           (!bytes || !memcmp(init, w->request.init, bytes)) &&
           seed_read(&mate->seed, json_object_get(object, "seed"));
    free(text);
    free(init);
    json_decref(object);
    return same;
}

/* Takes a job out of the queue to those in work; false: it is not there any more. */
static bool claim(struct jobs *j, const struct mate *mate, int first, int count) {
    bool there = false;
    pthread_mutex_lock(&j->lock);
    for (int i = 0; i < j->queue_count && !there; i++) {
        there = !strcmp(j->queue[i].id, mate->id);
        if (there) {
            memmove(j->queue + i, j->queue + i + 1, (size_t)(--j->queue_count - i) * sizeof *j->queue);
            struct running *r = &j->running[j->running_count++];
            running_begin(r, mate->id);
            r->first = first;
            r->count = count;
            r->seed = mate->seed;
        }
    }
    pthread_mutex_unlock(&j->lock);
    if (there) {
        j->keeper.start(j->keeper.self, mate->id, clock_now(), NULL);
        tell(j, EVENT_STARTED, mate->id, NULL, NULL);
    }
    return there;
}

static void put_seeds(struct work *w, int first, uint64_t seed, int count) {
    for (int i = 0; i < count; i++) {
        w->seeds[first + i] = seed + (uint64_t)i;
    }
}

/* The jobs that come along; the number of pictures then. */
static int gather(struct work *w, int each) {
    struct mate mates[MOST_TOGETHER];
    int count = 0, all = each, alike = candidates(w->j, mates, MOST_TOGETHER / each - 1);
    json_t *request = alike ? picture_request_json(&w->request) : NULL;
    char *own = request ? without_seed(request) : NULL;
    while (own && count < alike && is_alike(w, own, &mates[count])) {
        count++;
    }
    free(own);
    json_decref(request);
    if (!count || !pays(w, each * (count + 1))) {
        return each;
    }
    for (int i = 0; i < count; i++) {
        if (claim(w->j, &mates[i], all, each)) {
            put_seeds(w, all, mates[i].seed, each);
            all += each;
        }
    }
    return all;
}

void together_gather(struct work *w) {
    struct jobs *j = w->j;
    int each = w->request.batch * w->request.count;
    pthread_mutex_lock(&j->lock);
    j->running[0].count = each;
    j->running[0].seed = w->request.seed;
    pthread_mutex_unlock(&j->lock);
    if (picture_init_count(&w->request) > 1) {
        return;
    }
    int all = each <= MOST_TOGETHER ? gather(w, each) : each;
    if (all > each) {
        put_seeds(w, 0, w->request.seed, each);
        w->options.batch = all;
        w->options.count = 1;
        w->options.seeds = w->seeds;
        w->options.seed_count = (size_t)all;
        return;
    }
    int batch = MOST_TOGETHER; /* the job's own: the most that they can be divided by */
    while (batch > w->request.batch && (each % batch || batch % w->request.batch)) {
        batch--;
    }
    if (batch > w->request.batch && pays(w, batch)) {
        w->options.batch = batch;
        w->options.count = each / batch;
    }
}
