/* An exchange lives while MHD or who answers it needs it. While it is handed out its connection is suspended:
 * MHD touches neither. */
#include "server/http/internal.h"

#include <stdlib.h>
#include <string.h>

#define STREAM_BLOCK ((size_t)16 << 10)

static struct http_exchange *own(struct exchange *x) {
    return (struct http_exchange *)x;
}

struct http_exchange *exchange_new(struct http *h, struct MHD_Connection *c, const char *method,
                                   const char *path) {
    struct http_exchange *x = calloc(1, sizeof *x);
    if (!x) {
        return NULL;
    }
    x->path = strdup(path);
    if (!x->path) {
        free(x);
        return NULL;
    }
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->told, NULL);
    x->http = h;
    x->connection = c;
    x->head = !strcmp(method, "HEAD");
    x->exchange = (struct exchange){.ops = &http_exchange_ops, .path = x->path};
    static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
    x->exchange.method = x->head ? "GET" : "?";
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (!strcmp(method, methods[i])) {
            x->exchange.method = methods[i];
        }
    }
    return x;
}

void exchange_free(struct http_exchange *x) {
    atomic_fetch_sub(&x->http->body_bytes[x->body_room > SMALL_BODY], x->body_room);
    for (int i = 0; i < x->header_count; i++) {
        free(x->headers[i].name);
        free(x->headers[i].value);
    }
    if (x->response) {
        MHD_destroy_response(x->response);
    }
    free(x->pending);
    free(x->body);
    free(x->path);
    pthread_mutex_destroy(&x->lock);
    pthread_cond_destroy(&x->told);
    free(x);
}

/* Frees it when neither side needs it any more; unlocks. */
static void let_go(struct http_exchange *x) {
    bool last = x->over && (x->answered || !x->handed) && (!x->streaming || x->ended);
    pthread_mutex_unlock(&x->lock);
    if (last) {
        exchange_free(x);
    }
}

void exchange_tell_gone(struct http_exchange *x) {
    void (*gone)(void *payload) = x->gone;
    if (gone) {
        x->gone = NULL;
        x->telling = true;
        pthread_mutex_unlock(&x->lock);
        gone(x->gone_payload);
        pthread_mutex_lock(&x->lock);
        x->telling = false;
        pthread_cond_broadcast(&x->told);
    }
}

/* The end is said: nobody is told any more. Locked. */
static void forget_gone(struct http_exchange *x) {
    x->gone = NULL;
    while (x->telling) {
        pthread_cond_wait(&x->told, &x->lock);
    }
}

void exchange_over(struct http_exchange *x) {
    pthread_mutex_lock(&x->lock);
    if (x->streaming && !x->ended) {
        exchange_tell_gone(x);
    }
    x->over = true;
    let_go(x);
}

static const char *op_header(struct exchange *exchange, const char *name) {
    return MHD_lookup_connection_value(own(exchange)->connection, MHD_HEADER_KIND, name);
}

static const char *op_query(struct exchange *exchange, const char *name) {
    return MHD_lookup_connection_value(own(exchange)->connection, MHD_GET_ARGUMENT_KIND, name);
}

static void op_set_header(struct exchange *exchange, const char *name, const char *value) {
    struct http_exchange *x = own(exchange);
    size_t most = sizeof x->headers / sizeof *x->headers;
    char *n = strdup(name), *v = strdup(value);
    if (!n || !v || (size_t)x->header_count == most) {
        free(n);
        free(v);
        return;
    }
    x->headers[x->header_count].name = n;
    x->headers[x->header_count++].value = v;
}

static void dress(struct http_exchange *x, const char *type) {
    MHD_add_response_header(x->response, "Content-Type", type);
    if (x->last) {
        MHD_add_response_header(x->response, "Connection", "close");
    }
    if (x->status == MHD_HTTP_UNAUTHORIZED) {
        MHD_add_response_header(x->response, "WWW-Authenticate",
                                "Basic realm=\"ballast\", charset=\"UTF-8\"");
    }
    for (int i = 0; i < x->header_count; i++) {
        MHD_add_response_header(x->response, x->headers[i].name, x->headers[i].value);
    }
    guard_headers(x->http, x->connection, x->response);
}

/* Who answers in the event loop has nobody to wake. */
static void wake(struct http_exchange *x, enum link_state state, size_t bytes) {
    link_turn(x->http, x->link, state, x, bytes);
    if (x->handed) {
        MHD_resume_connection(x->connection);
    }
}

static void op_answer(struct exchange *exchange, int status, const char *type, void *body, size_t bytes) {
    struct http_exchange *x = own(exchange);
    static char memory[] = "{\"detail\":\"out of memory\"}";
    pthread_mutex_lock(&x->lock);
    x->status = body ? status : 503;
    x->response = body ? MHD_create_response_from_buffer(bytes, body, MHD_RESPMEM_MUST_FREE)
                       : MHD_create_response_from_buffer(sizeof memory - 1, memory, MHD_RESPMEM_PERSISTENT);
    if (x->response) {
        dress(x, body ? type : "application/json");
    }
    x->answered = true;
    forget_gone(x);
    wake(x, LINK_ANSWER, bytes);
    let_go(x);
}

/* MHD asks for more of a stream. */
static ssize_t on_read(void *payload, uint64_t position, char *out, size_t most) {
    struct http_exchange *x = payload;
    (void)position;
    pthread_mutex_lock(&x->lock);
    size_t left = x->pending_bytes - x->pending_at, n = left < most ? left : most;
    ssize_t result = (ssize_t)n;
    if (n) {
        memcpy(out, x->pending + x->pending_at, n);
        x->pending_at += n;
        x->stalled = 0;
    } else if (x->ended) {
        result = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        x->parked = true;
        MHD_suspend_connection(x->connection);
    }
    pthread_mutex_unlock(&x->lock);
    return result;
}

static void op_stream(struct exchange *exchange, int status, const char *type) {
    struct http_exchange *x = own(exchange);
    pthread_mutex_lock(&x->lock);
    x->status = status;
    x->streaming = true;
    x->response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, on_read, x, NULL);
    if (x->response) {
        dress(x, type);
        MHD_add_response_header(x->response, "X-Accel-Buffering", "no");
        MHD_add_response_header(x->response, "Cache-Control", "no-store");
    }
    x->answered = true;
    wake(x, LINK_STREAM, 0);
    pthread_mutex_unlock(&x->lock);
}

/* Bytes on their way; unparks. Locked. */
static void append(struct http_exchange *x, const void *data, size_t bytes) {
    if (x->over || bytes > STREAM_MOST || x->pending_bytes - x->pending_at > STREAM_MOST - bytes) {
        return;
    }
    if (x->pending_at) {
        x->pending_bytes -= x->pending_at;
        memmove(x->pending, x->pending + x->pending_at, x->pending_bytes);
        x->pending_at = 0;
    }
    if (x->pending_room < x->pending_bytes + bytes) {
        size_t room = 2 * (x->pending_bytes + bytes);
        char *grown = realloc(x->pending, room);
        if (!grown) {
            return;
        }
        x->pending = grown;
        x->pending_room = room;
    }
    if (!x->pending_bytes) {
        x->stalled = http_clock();
    }
    memcpy(x->pending + x->pending_bytes, data, bytes);
    x->pending_bytes += bytes;
}

static void unpark(struct http_exchange *x) {
    if (x->parked && !x->over) {
        x->parked = false;
        MHD_resume_connection(x->connection);
    }
}

static void op_write(struct exchange *exchange, const void *data, size_t bytes) {
    struct http_exchange *x = own(exchange);
    pthread_mutex_lock(&x->lock);
    append(x, data, bytes);
    unpark(x);
    pthread_mutex_unlock(&x->lock);
}

static size_t op_backlog(struct exchange *exchange) {
    struct http_exchange *x = own(exchange);
    pthread_mutex_lock(&x->lock);
    size_t bytes = x->pending_bytes - x->pending_at;
    pthread_mutex_unlock(&x->lock);
    return bytes;
}

static void op_end(struct exchange *exchange) {
    struct http_exchange *x = own(exchange);
    pthread_mutex_lock(&x->lock);
    x->ended = true;
    forget_gone(x);
    unpark(x);
    let_go(x);
}

static void op_watch(struct exchange *exchange, void (*gone)(void *payload), void *payload) {
    struct http_exchange *x = own(exchange);
    pthread_mutex_lock(&x->lock);
    bool late = x->over;
    if (!late) {
        x->gone = gone;
        x->gone_payload = payload;
    }
    pthread_mutex_unlock(&x->lock);
    if (late) {
        gone(payload);
    }
}

const struct exchange_ops http_exchange_ops = {.header = op_header,
                                               .query = op_query,
                                               .set_header = op_set_header,
                                               .answer = op_answer,
                                               .stream = op_stream,
                                               .write = op_write,
                                               .backlog = op_backlog,
                                               .end = op_end,
                                               .watch = op_watch};

enum MHD_Result exchange_queue(struct http_exchange *x) {
    if (!x->response) {
        return MHD_NO;
    }
    return MHD_queue_response(x->connection, (unsigned)x->status, x->response);
}

enum MHD_Result exchange_refuse(struct http_exchange *x, const struct problem *p) {
    char *text = x->http->options.describe(x->http->options.payload, x->path, p);
    if (!text) {
        return MHD_NO;
    }
    x->response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    if (!x->response) {
        free(text);
        return MHD_NO;
    }
    x->status = p->status;
    exchange_retry_after(&x->exchange, p);
    size_t bytes = strlen(text);
    dress(x, "application/json");
    link_turn(x->http, x->link, LINK_ANSWER, x, bytes);
    return MHD_queue_response(x->connection, (unsigned)p->status, x->response);
}
