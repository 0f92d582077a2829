/* MHD's own timeout is for connections on which nothing happens. What it does not see is watched here: a
 * header or a body that comes byte by byte, an answer that nobody reads, a caller who left while its
 * connection was suspended. */
#include "server/http/internal.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define LOOK_SECONDS 0.25
#define ROUND_PARTS 16 /* looks until all connections were looked at, where they are many */
#define RESTING 16     /* so many times slower than a body has to be on the whole is none that comes */
#define LOOK_LEAST 64  /* connections of a look */

double http_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t received(int fd) {
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) ? 0 : info.tcpi_bytes_received;
}

void link_started(struct http *h, struct link *link) {
    pthread_mutex_lock(&h->lock);
    link->since = http_clock();
    link->counted = true; /* none: every byte is of the first header */
    link->next = h->links;
    if (h->links) {
        h->links->previous = link;
    }
    h->links = link;
    h->link_count++;
    pthread_mutex_unlock(&h->lock);
}

void link_ended(struct http *h, struct link *link) {
    pthread_mutex_lock(&h->lock);
    if (link->previous) {
        link->previous->next = link->next;
    } else {
        h->links = link->next;
    }
    if (link->next) {
        link->next->previous = link->previous;
    }
    if (h->looked_at == link) {
        h->looked_at = link->next;
    }
    h->link_count--;
    pthread_mutex_unlock(&h->lock);
}

void link_turn(struct http *h, struct link *link, enum link_state state, struct http_exchange *x,
               size_t size) {
    if (!link) {
        return;
    }
    pthread_mutex_lock(&h->lock);
    link->state = state;
    link->size = size;
    link->since = http_clock();
    link->x = x;
    link->header_since = 0;
    link->counted = false;
    pthread_mutex_unlock(&h->lock);
}

/* Has next to nothing come of a body for a while? A large one has long, and holds memory meanwhile. Locked.
 */
static bool body_rests(const struct http *h, struct link *link, double now) {
    double seconds = h->options.header_seconds;
    if (link->body_since < link->since) {
        link->body_since = now;
        link->body_received = received(link->fd);
    }
    if (now - link->body_since < seconds) {
        return false;
    }
    uint64_t bytes = received(link->fd);
    bool rests = (double)(bytes - link->body_received) < seconds * h->options.least_rate / RESTING;
    link->body_since = now;
    link->body_received = bytes;
    return rests;
}

/* True: the connection has to go. Locked. */
static bool is_late(struct http *h, struct link *link, double now) {
    double spent = now - link->since;
    switch (link->state) {
    case LINK_IDLE:
        if (!link->header_since) {
            uint64_t bytes = received(link->fd);
            link->header_since = link->counted && bytes != link->received ? now : 0;
            link->received = bytes;
            link->counted = true;
        }
        return (link->header_since && now - link->header_since > h->options.header_seconds) ||
               spent > h->options.idle_seconds;
    case LINK_BODY:
        return spent > h->options.header_seconds + (double)link->size / h->options.least_rate ||
               body_rests(h, link, now);
    case LINK_WAITING:
        return false;
    case LINK_ANSWER:
        return spent > h->options.answer_seconds + (double)link->size / h->options.least_rate;
    case LINK_STREAM:
        break;
    }
    /* Its lock is taken before ours elsewhere: who is busy is asked the next time. */
    struct http_exchange *x = link->x;
    if (!x || pthread_mutex_trylock(&x->lock)) {
        return false;
    }
    bool late = x->stalled > 0 && now - x->stalled > h->options.answer_seconds;
    pthread_mutex_unlock(&x->lock);
    return late;
}

/* Has the caller of a suspended connection left? What it sent ahead stays where it is. */
static bool has_left(int fd) {
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

/* One whose caller has left is told; false: nobody. Locked, and unlocked meanwhile. */
static bool tell_one(struct http *h) {
    for (struct link *link = h->links; link; link = link->next) {
        struct http_exchange *x = link->x;
        if (!x || (link->state != LINK_WAITING && link->state != LINK_STREAM) ||
            pthread_mutex_trylock(&x->lock)) {
            continue;
        }
        bool leaver = x->gone && (!x->answered || x->parked) && has_left(link->fd);
        if (leaver) {
            pthread_mutex_unlock(&h->lock);
            exchange_tell_gone(x);
            pthread_mutex_unlock(&x->lock);
            pthread_mutex_lock(&h->lock);
            return true;
        }
        pthread_mutex_unlock(&x->lock);
    }
    return false;
}

/* Some of the connections, in turn: to look at ten thousand at one time would keep who answers waiting.
 * Locked. */
static void look(struct http *h) {
    double now = http_clock();
    size_t count = h->link_count / ROUND_PARTS + LOOK_LEAST;
    for (count = count < h->link_count ? count : h->link_count; count; count--) {
        struct link *link = h->looked_at ? h->looked_at : h->links;
        h->looked_at = link->next;
        if (is_late(h, link, now)) {
            shutdown(link->fd, SHUT_RDWR);
        }
    }
}

static void *watch_main(void *payload) {
    struct http *h = payload;
    pthread_mutex_lock(&h->lock);
    while (!h->stopping) {
        look(h);
        while (tell_one(h)) {
        }
        pthread_mutex_unlock(&h->lock);
        nanosleep(&(struct timespec){.tv_nsec = (long)(LOOK_SECONDS * 1e9)}, NULL);
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

int watch_start(struct http *h) {
    int failed = pthread_create(&h->watcher, NULL, watch_main, h);
    h->watches = !failed;
    return failed;
}

void watch_stop(struct http *h) {
    pthread_mutex_lock(&h->lock);
    h->stopping = true;
    pthread_mutex_unlock(&h->lock);
    if (h->watches) {
        pthread_join(h->watcher, NULL);
        h->watches = false;
    }
}
