/* What the files of the room http share. */
#ifndef BALLAST_SERVER_HTTP_INTERNAL_H
#define BALLAST_SERVER_HTTP_INTERNAL_H

#include "server/http/http.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

/* Of the pool: short requests, those with large bodies, those that take their time or wait for the device,
 * and those of whom a hash has to tell who they are. */
enum lane_kind { LANE_SHORT, LANE_LARGE, LANE_SLOW, LANE_UNSURE, LANES };

/* What a connection is at; each has a deadline. */
enum link_state { LINK_IDLE, LINK_BODY, LINK_WAITING, LINK_ANSWER, LINK_STREAM };

struct link {
    struct link *next, *previous;
    int fd;
    enum link_state state;
    size_t size;       /* bytes of the body or answer */
    double since;      /* of the state */
    double body_since; /* and bytes then: how a body comes on is looked at */
    uint64_t body_received;
    bool counted;            /* `received` is known */
    uint64_t received;       /* bytes, when it was first looked at after the last request */
    double header_since;     /* when more than those were seen; 0: not yet */
    struct http_exchange *x; /* of the request in hand, or NULL */
};

/* The life of an exchange: MHD holds one end of it, who answers the other. */
struct http_exchange {
    struct exchange exchange; /* first: what the handler sees */
    struct http *http;
    struct MHD_Connection *connection;
    struct link *link;
    struct http_exchange *next; /* in the pool */
    pthread_mutex_t lock;       /* of what follows, once it has been handed out */
    char *path;
    char *body;
    size_t body_bytes, body_room;
    struct problem refused;            /* status 0: not */
    bool last;                         /* the connection ends with its answer */
    bool unsure;                       /* whether it may come in is still to be found out */
    bool head, handed, answered, over; /* over: MHD has done with it */
    struct MHD_Response *response;
    int status;
    struct {
        char *name, *value;
    } headers[8];
    int header_count;
    /* A stream's bytes on their way. */
    bool streaming, ended, parked;
    char *pending;
    size_t pending_bytes, pending_room, pending_at;
    double stalled; /* since when nobody takes them; 0: somebody does */
    void (*gone)(void *payload);
    void *gone_payload;
    bool telling; /* gone is running: the end waits for it */
    pthread_cond_t told;
};

struct lane {
    struct http_exchange *first, **last;
    int count;
    pthread_cond_t wake;
};

struct http {
    struct http_options options;
    char address[160];
    int listen_fd;
    struct MHD_Daemon *daemon;
    pthread_mutex_t lock; /* of links and lanes */
    struct link *links;
    struct link *looked_at; /* the next one to look at; NULL: the first */
    size_t link_count;
    struct lane lanes[LANES];
    pthread_t threads[7];
    int thread_count;
    pthread_t watcher;
    bool watches, stopping;
    atomic_size_t body_bytes[2]; /* of all exchanges' bodies: the small ones, the large ones */
};

#define SMALL_BODY ((size_t)64 << 10)  /* bytes that are set aside for it, at most */
#define STREAM_MOST ((size_t)64 << 20) /* bytes that wait for a reader */

double http_clock(void); /* seconds, steady */

/* ---- listen.c */

int listen_open(struct http *h, struct problem *p);

/* ---- path.c */

/* %XX become bytes, in place; but for %00, which would end the text. Its new length. */
size_t path_unescape(char *text);
/* The path as routes are written: without the base path (NULL: none), double slashes, and one at the end.
 * NULL: no memory. */
char *path_route(const char *url, const char *base);

/* ---- guard.c */

/* Do the options say what could ever be the same as what is sent? 0, or 400 with *p. */
int guard_options(const struct http_options *o, struct problem *p);

/* Looks at a request's head: framing, Host, Origin. 0, or the status with *p filled. */
int guard_check(struct http *h, struct MHD_Connection *c, const char *url, const char *method,
                struct problem *p);
/* The answer to a preflight; NULL: it is none, or its origin is not allowed. */
struct MHD_Response *guard_preflight(struct http *h, struct MHD_Connection *c, const char *method);
/* What every answer carries. */
void guard_headers(struct http *h, struct MHD_Connection *c, struct MHD_Response *response);

/* ---- exchange.c */

extern const struct exchange_ops http_exchange_ops;
struct http_exchange *exchange_new(struct http *h, struct MHD_Connection *c, const char *method,
                                   const char *path);
void exchange_free(struct http_exchange *x);
/* Calls gone, if there is one. Locked, and unlocked meanwhile. */
void exchange_tell_gone(struct http_exchange *x);
/* MHD is done with it. */
void exchange_over(struct http_exchange *x);
/* Its answer as MHD takes it, queued. */
enum MHD_Result exchange_queue(struct http_exchange *x);
/* An answer that http gives itself. */
enum MHD_Result exchange_refuse(struct http_exchange *x, const struct problem *p);

/* ---- pool.c */

int pool_start(struct http *h);
void pool_stop(struct http *h);
/* False: x was not taken, and its `refused` says why. */
bool pool_push(struct http *h, struct http_exchange *x);

/* ---- watch.c */

void link_started(struct http *h, struct link *link);
void link_ended(struct http *h, struct link *link);
void link_turn(struct http *h, struct link *link, enum link_state state, struct http_exchange *x,
               size_t size);
int watch_start(struct http *h);
void watch_stop(struct http *h);

#endif
