#include "server/http/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECTION_MEMORY ((size_t)24 << 10) /* of MHD, each: a header has to fit */
#define UNKNOWN_LENGTH ((size_t)2 << 20)     /* what a body without a length may take the time of */
#define BODY_BLOCK ((size_t)16 << 10)

static struct link *link_of(struct MHD_Connection *c) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

/* More of a body. A refused one is read on, and thrown away, so that the answer reaches who still sends. */
static void take_body(struct http_exchange *x, const char *data, size_t bytes) {
    struct http *h = x->http;
    if (x->refused.status) {
        return;
    }
    size_t need = x->body_bytes + bytes + 1;
    if (need - 1 > h->options.most_body) {
        problem_set(&x->refused, 413, NULL,
                    "the body is larger than %zu MB, the most that is taken (--max-body)",
                    h->options.most_body >> 20);
        return;
    }
    if (need > x->body_room) {
        size_t room = need > BODY_BLOCK ? 2 * need : BODY_BLOCK, more = room - x->body_room;
        char *grown = NULL;
        /* Small ones have a share of their own: a few who hold large ones keep nobody else out. */
        bool large = room > SMALL_BODY, was_large = x->body_room > SMALL_BODY;
        more += large && !was_large ? x->body_room : 0;
        if (atomic_fetch_add(&h->body_bytes[large], more) + more > h->options.most_bodies ||
            !(grown = realloc(x->body, room))) {
            atomic_fetch_sub(&h->body_bytes[large], more);
            problem_set(&x->refused, 503, NULL, "too many large requests at one time; try again");
            x->refused.retry_after = 2;
            return;
        }
        if (large && !was_large) {
            atomic_fetch_sub(&h->body_bytes[false], x->body_room);
        }
        x->body = grown;
        x->body_room = room;
    }
    memcpy(x->body + x->body_bytes, data, bytes);
    x->body_bytes += bytes;
    x->body[x->body_bytes] = 0;
}

static enum MHD_Result first_call(struct http *h, struct MHD_Connection *c, const char *url,
                                  const char *method, struct http_exchange **out) {
    struct problem p = {0};
    char *path = path_route(url, h->options.base_path);
    struct http_exchange *x = path ? exchange_new(h, c, method, path) : NULL;
    free(path);
    if (!x) {
        return MHD_NO;
    }
    *out = x;
    x->link = link_of(c);
    if (guard_check(h, c, url, method, &p)) {
        x->last = p.status != 403; /* where one request ends and the next begins is doubtful */
        return exchange_refuse(x, &p);
    }
    x->response = guard_preflight(h, c, method);
    if (x->response) {
        guard_headers(h, c, x->response);
        return MHD_queue_response(c, MHD_HTTP_NO_CONTENT, x->response);
    }
    const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Length");
    if (length && (strlen(length) > 18 || strtoull(length, NULL, 10) > h->options.most_body)) {
        problem_set(&p, 413, NULL, "the body is larger than %zu MB, the most that is taken (--max-body)",
                    h->options.most_body >> 20);
        return exchange_refuse(x, &p);
    }
    int admitted =
        h->options.admit
            ? h->options.admit(h->options.payload, x->path,
                               MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization"), true, &p)
            : 0;
    x->unsure = admitted == ADMIT_LATER;
    if (admitted && !x->unsure) {
        return exchange_refuse(x, &p);
    }
    link_turn(h, x->link, LINK_BODY, x, length ? (size_t)strtoull(length, NULL, 10) : UNKNOWN_LENGTH);
    return MHD_YES;
}

static size_t unescape(void *payload, struct MHD_Connection *c, char *text) {
    (void)payload;
    (void)c;
    return path_unescape(text);
}

static enum MHD_Result on_request(void *payload, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *data, size_t *bytes,
                                  void **context) {
    struct http *h = payload;
    struct http_exchange *x = *context;
    (void)version;
    if (!x) {
        enum MHD_Result result = first_call(h, c, url, method, &x);
        *context = x;
        return result;
    }
    if (*bytes) {
        take_body(x, data, *bytes);
        *bytes = 0;
        return MHD_YES;
    }
    if (x->answered) {
        return exchange_queue(x);
    }
    if (x->refused.status) {
        return exchange_refuse(x, &x->refused);
    }
    x->exchange.body = x->body ? x->body : "";
    x->exchange.body_bytes = x->body_bytes;
    if (!x->unsure && h->options.quick && h->options.quick(h->options.payload, &x->exchange)) {
        return exchange_queue(x);
    }
    x->handed = true;
    link_turn(h, x->link, LINK_WAITING, x, 0);
    MHD_suspend_connection(c);
    if (!pool_push(h, x)) {
        MHD_resume_connection(c);
        x->handed = false;
    }
    return MHD_YES;
}

static void on_completed(void *payload, struct MHD_Connection *c, void **context,
                         enum MHD_RequestTerminationCode why) {
    struct http *h = payload;
    struct http_exchange *x = *context;
    struct link *link = link_of(c);
    (void)why;
    *context = NULL;
    if (link) {
        link_turn(h, link, LINK_IDLE, NULL, 0);
    }
    if (x) {
        exchange_over(x);
    }
}

static void on_connection(void *payload, struct MHD_Connection *c, void **context,
                          enum MHD_ConnectionNotificationCode code) {
    struct http *h = payload;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct link *link = calloc(1, sizeof *link);
        if (link && info) {
            link->fd = info->connect_fd;
            link_started(h, link);
            *context = link;
        } else {
            free(link);
        }
    } else if (*context) {
        link_ended(h, *context);
        free(*context);
        *context = NULL;
    }
}

int http_start(struct http **out, const struct http_options *options, struct problem *p) {
    *out = NULL;
    struct http *h = calloc(1, sizeof *h);
    if (!h) {
        return problem_set(p, 500, NULL, "out of memory");
    }
    h->options = *options;
    h->listen_fd = -1;
    pthread_mutex_init(&h->lock, NULL);
    int status = guard_options(options, p);
    status = status ? status : listen_open(h, p);
    if (!status && pool_start(h)) {
        status = problem_set(p, 500, NULL, "no thread could be started");
    }
    if (!status) {
        h->daemon = MHD_start_daemon(
            MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, h,
            MHD_OPTION_LISTEN_SOCKET, h->listen_fd, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h,
            MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_CONNECTION_LIMIT,
            (unsigned)h->options.most_connections, MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY,
            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)options->idle_seconds, MHD_OPTION_STRICT_FOR_CLIENT, 1,
            MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL, MHD_OPTION_END);
        if (!h->daemon) {
            status = problem_set(p, 500, NULL, "the HTTP server could not be started");
        }
    }
    if (!status && watch_start(h)) {
        status = problem_set(p, 500, NULL, "no thread could be started");
    }
    if (status) {
        http_close(&h);
        return status;
    }
    *out = h;
    return 0;
}

const char *http_address(const struct http *http) {
    return http->address;
}

void http_quiesce(struct http *http) {
    MHD_quiesce_daemon(http->daemon);
}

void http_close(struct http **http) {
    struct http *h = *http;
    if (h) {
        watch_stop(h);
        pool_stop(h);
        if (h->daemon) {
            MHD_stop_daemon(h->daemon);
        }
        if (h->listen_fd >= 0) {
            close(h->listen_fd);
        }
        pthread_mutex_destroy(&h->lock);
        free(h);
    }
    *http = NULL;
}
