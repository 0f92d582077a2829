/* A request and its answer: what the room http hands to the room api, which knows nothing of sockets.
 *
 * Whoever gets an exchange answers it exactly once, now or later, from any thread: with exchange_answer, or
 * with exchange_stream, any number of exchange_write, and exchange_end. That also ends its life: it must not
 * be touched afterwards. A caller that has left does not end it; exchange_watch tells. */
#ifndef BALLAST_SERVER_BASE_EXCHANGE_H
#define BALLAST_SERVER_BASE_EXCHANGE_H

#include "server/base/problem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct exchange;

struct exchange_ops {
    const char *(*header)(struct exchange *x, const char *name);
    const char *(*query)(struct exchange *x, const char *name);
    void (*set_header)(struct exchange *x, const char *name, const char *value);
    void (*answer)(struct exchange *x, int status, const char *type, void *body, size_t bytes);
    void (*stream)(struct exchange *x, int status, const char *type);
    void (*write)(struct exchange *x, const void *data, size_t bytes);
    size_t (*backlog)(struct exchange *x);
    void (*end)(struct exchange *x);
    void (*watch)(struct exchange *x, void (*gone)(void *payload), void *payload);
};

struct exchange {
    const struct exchange_ops *ops;
    const char *method; /* "HEAD" comes as "GET": http leaves the body out */
    const char *path;   /* decoded; no double slashes, none at the end, without the base path */
    const char *body;   /* [body_bytes] and a 0 */
    size_t body_bytes;
};

/* A header of the request, case ignored, or an argument behind the '?'; NULL: not there. Borrowed until the
 * answer.
 */
static inline const char *exchange_header(struct exchange *x, const char *name) {
    return x->ops->header(x, name);
}
static inline const char *exchange_query(struct exchange *x, const char *name) {
    return x->ops->query(x, name);
}

/* A header of the answer; before exchange_answer or exchange_stream. */
static inline void exchange_set_header(struct exchange *x, const char *name, const char *value) {
    x->ops->set_header(x, name, value);
}

/* The header that goes with a problem that passes. */
static inline void exchange_retry_after(struct exchange *x, const struct problem *p) {
    char seconds[16];
    if (p->retry_after) {
        snprintf(seconds, sizeof seconds, "%d", p->retry_after);
        exchange_set_header(x, "Retry-After", seconds);
    }
}

/* `body`: from malloc, taken over; NULL is out of memory, and becomes an answer that says so. */
static inline void exchange_answer(struct exchange *x, int status, const char *type, void *body,
                                   size_t bytes) {
    x->ops->answer(x, status, type, body, bytes);
}

/* An answer that comes piece by piece. The data is copied; what a caller who left does not read is dropped.
 */
static inline void exchange_stream(struct exchange *x, int status, const char *type) {
    x->ops->stream(x, status, type);
}
static inline void exchange_write(struct exchange *x, const void *data, size_t bytes) {
    x->ops->write(x, data, bytes);
}
/* Bytes of a stream that its reader has not taken yet. */
static inline size_t exchange_backlog(struct exchange *x) {
    return x->ops->backlog(x);
}
static inline void exchange_end(struct exchange *x) {
    x->ops->end(x);
}

/* `gone` is called at most once, from a thread of http, when the caller has left before the answer's end;
 * once that end was said it is not running, and will not. It must not end the exchange itself. */
static inline void exchange_watch(struct exchange *x, void (*gone)(void *payload), void *payload) {
    x->ops->watch(x, gone, payload);
}

#endif
