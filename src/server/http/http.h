/* HTTP/1.1 on one address: connections, framing, deadlines, limits, who may come in. What a request means is
 * somebody else's: every whole, allowed request becomes an `exchange` and goes to `handle`, in one of a few
 * threads. */
#ifndef BALLAST_SERVER_HTTP_HTTP_H
#define BALLAST_SERVER_HTTP_HTTP_H

#include "server/base/exchange.h"
#include "server/base/problem.h"

#include <stdint.h>

struct http;

#define ADMIT_LATER (-1)

struct http_options {
    const char *listen;               /* "127.0.0.1:7860", "[::1]:0", "host:port" */
    const char *base_path;            /* NULL or "": none; "/sd" */
    const char *const *allow_origins; /* [allow_origin_count] "http://host:port" */
    size_t allow_origin_count;
    size_t most_body;     /* bytes of one request's body */
    size_t most_bodies;   /* bytes of all bodies that are held at one time */
    int most_connections; /* 0: as many as the process may have open */
    int header_seconds;   /* from a header's first byte to its last; a body has these, too */
    int answer_seconds;   /* that an answer may take to be read */
    double least_rate;    /* bytes a second: what a body or an answer may take besides */
    int idle_seconds;     /* a connection without a request */
    /* Called in a thread of the room's own. */
    void (*handle)(void *payload, struct exchange *x);
    bool anywhere; /* false: refuse to listen on anything but loopback */
    /* Who may come in: 0, or the status with *p filled; 401 asks for a password. `authorization` NULL: none
     * was sent. `quick`: called in the event loop, before the body: it takes no time, and where that is not
     * enough says ADMIT_LATER; then it is called again before `handle`. NULL: everybody. */
    int (*admit)(void *payload, const char *path, const char *authorization, bool quick, struct problem *p);
    /* Does a request of this path take its time, or wait for the device? Then it keeps only its likes
     * waiting. NULL: none does. */
    bool (*slow)(void *payload, const char *path);
    /* Called in the event loop: answers at once from what lies ready, or says false, and x goes to `handle`.
     * NULL: never. */
    bool (*quick)(void *payload, struct exchange *x);
    /* The body of an answer that http gives itself, malloc'ed JSON in the form that clients of this path
     * read. */
    char *(*describe)(void *payload, const char *path, const struct problem *p);
    void *payload;
};

/* Listens and serves until http_stop. *out is closed with http_close. 0, or a status and *p. */
int http_start(struct http **out, const struct http_options *options, struct problem *p);
/* "http://127.0.0.1:7860", with the port that the system chose for 0. Borrowed. */
const char *http_address(const struct http *http);
/* No new connections. */
void http_quiesce(struct http *http);
/* Every exchange must have been answered. */
void http_close(struct http **http);

#endif
