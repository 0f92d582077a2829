/* The threads that handlers run in: a few for short requests, one for those whose bodies take long to read,
 * one that finds out who may come in. */
#include "server/http/internal.h"

#include <string.h>

#define LARGE_BODY ((size_t)256 << 10)
#define MOST_UNSURE 8 /* that wait for a hash */

/* Locked. */
static void put(struct lane *lane, struct http_exchange *x) {
    x->next = NULL;
    *lane->last = x;
    lane->last = &x->next;
    lane->count++;
    pthread_cond_signal(&lane->wake);
}

/* Waits for one; NULL: the server is going down. Locked. */
static struct http_exchange *take(struct http *h, struct lane *lane) {
    while (!lane->first && !h->stopping) {
        pthread_cond_wait(&lane->wake, &h->lock);
    }
    struct http_exchange *x = lane->first;
    if (x) {
        lane->first = x->next;
        lane->last = lane->first ? lane->last : &lane->first;
        lane->count--;
    }
    return x;
}

static void answer_problem(struct http *h, struct http_exchange *x, const struct problem *p) {
    exchange_retry_after(&x->exchange, p);
    char *text = h->options.describe(h->options.payload, x->path, p);
    exchange_answer(&x->exchange, p->status, "application/json", text, text ? strlen(text) : 0);
}

static struct lane *lane_of(struct http *h, const struct http_exchange *x) {
    bool slow = h->options.slow && h->options.slow(h->options.payload, x->path);
    return &h->lanes[slow ? LANE_SLOW : x->body_bytes > LARGE_BODY ? LANE_LARGE : LANE_SHORT];
}

static void answer_going_down(struct http *h, struct http_exchange *x) {
    struct problem p = {0};
    problem_set(&p, 503, NULL, "the server is going down");
    answer_problem(h, x, &p);
}

/* A hash takes a good part of a second: one thread alone does it, and everybody else goes on. */
static void admit(struct http *h, struct http_exchange *x) {
    struct problem p = {0};
    if (h->options.admit(h->options.payload, x->path, exchange_header(&x->exchange, "Authorization"), false,
                         &p)) {
        answer_problem(h, x, &p);
        return;
    }
    pthread_mutex_lock(&h->lock);
    bool goes = !h->stopping;
    if (goes) {
        put(lane_of(h, x), x);
    }
    pthread_mutex_unlock(&h->lock);
    if (!goes) {
        answer_going_down(h, x);
    }
}

static void *pool_main(void *payload) {
    struct http *h = payload;
    pthread_mutex_lock(&h->lock);
    int number = 0;
    while (number < h->thread_count && !pthread_equal(h->threads[number], pthread_self())) {
        number++;
    }
    static const enum lane_kind kinds[] = {LANE_LARGE, LANE_UNSURE, LANE_SLOW, LANE_SLOW};
    enum lane_kind kind = number < (int)(sizeof kinds / sizeof *kinds) ? kinds[number] : LANE_SHORT;
    struct http_exchange *x;
    while ((x = take(h, &h->lanes[kind]))) {
        bool stops = h->stopping;
        pthread_mutex_unlock(&h->lock);
        if (stops) {
            answer_going_down(h, x);
        } else if (kind == LANE_UNSURE) {
            admit(h, x);
        } else {
            h->options.handle(h->options.payload, &x->exchange);
        }
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

int pool_start(struct http *h) {
    for (int i = 0; i < LANES; i++) {
        h->lanes[i].last = &h->lanes[i].first;
        pthread_cond_init(&h->lanes[i].wake, NULL);
    }
    pthread_mutex_lock(&h->lock); /* threads look themselves up once all are known */
    int failed = 0;
    for (size_t i = 0; i < sizeof h->threads / sizeof *h->threads && !failed; i++) {
        failed = pthread_create(&h->threads[i], NULL, pool_main, h);
        h->thread_count += !failed;
    }
    pthread_mutex_unlock(&h->lock);
    return failed;
}

void pool_stop(struct http *h) {
    pthread_mutex_lock(&h->lock);
    h->stopping = true;
    for (int i = 0; i < LANES; i++) {
        pthread_cond_broadcast(&h->lanes[i].wake);
    }
    pthread_mutex_unlock(&h->lock);
    for (int i = 0; i < h->thread_count; i++) {
        pthread_join(h->threads[i], NULL);
    }
    h->thread_count = 0;
}

bool pool_push(struct http *h, struct http_exchange *x) {
    pthread_mutex_lock(&h->lock);
    struct lane *lane = x->unsure ? &h->lanes[LANE_UNSURE] : lane_of(h, x);
    bool taken = !h->stopping && (!x->unsure || lane->count < MOST_UNSURE);
    if (taken) {
        put(lane, x);
    } else if (h->stopping) {
        problem_set(&x->refused, 503, NULL, "the server is going down");
    } else {
        problem_set(&x->refused, 503, NULL, "too many passwords are being checked; try again");
        x->refused.retry_after = 1;
    }
    pthread_mutex_unlock(&h->lock);
    return taken;
}
