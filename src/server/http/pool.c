/* The threads that handlers run in: a few for short requests, one for those whose bodies take long to read.
 */
#include "server/http/internal.h"

#include <string.h>

#define LARGE_BODY ((size_t)256 << 10)

static void *pool_main(void *payload) {
    /* Thread 0 has the lane of large bodies, the others share that of short requests. */
    struct http *h = payload;
    pthread_mutex_lock(&h->lock);
    int number = 0;
    while (number < h->thread_count && !pthread_equal(h->threads[number], pthread_self())) {
        number++;
    }
    struct lane *lane = &h->lanes[number == 0];
    for (;;) {
        while (!lane->first && !h->stopping) {
            pthread_cond_wait(&lane->wake, &h->lock);
        }
        struct http_exchange *x = lane->first;
        if (!x) {
            break;
        }
        lane->first = x->next;
        lane->last = lane->first ? lane->last : &lane->first;
        pthread_mutex_unlock(&h->lock);
        struct problem p = {0};
        int status = x->unsure ? h->options.admit(h->options.payload, x->path,
                                                  exchange_header(&x->exchange, "Authorization"), false, &p)
                               : 0;
        if (status) {
            exchange_retry_after(&x->exchange, &p);
            char *text = h->options.describe(h->options.payload, x->path, &p);
            exchange_answer(&x->exchange, status, "application/json", text, text ? strlen(text) : 0);
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
    struct lane *lane = &h->lanes[x->body_bytes > LARGE_BODY];
    x->next = NULL;
    pthread_mutex_lock(&h->lock);
    bool taken = !h->stopping;
    if (taken) {
        *lane->last = x;
        lane->last = &x->next;
        pthread_cond_signal(&lane->wake);
    }
    pthread_mutex_unlock(&h->lock);
    return taken;
}
