/* What is looked at before a request is taken: framing that two parsers could read in two ways, names under
 * which a foreign page could reach us (DNS rebinding), and pages that may not. */
#include "server/http/internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MOST_TARGET ((size_t)8 << 10)  /* bytes of path and query */
#define MOST_ASKED 1000                /* bytes of what a preflight asks for */
#define MOST_HEADERS ((size_t)8 << 10) /* of names and values together */

struct head {
    int lengths, encodings, hosts;
    size_t bytes;
    bool bad_name, compressed, not_chunked;
    const char *host, *origin;
};

static bool is_token(const char *name, size_t n) {
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)name[i];
        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
              (c && strchr(others, c)))) {
            return false;
        }
    }
    return n > 0;
}

/* Tokens with commas and blanks between. */
static bool is_list(const char *text) {
    while (*text) {
        size_t n = strcspn(text, ", \t");
        if (n && !is_token(text, n)) {
            return false;
        }
        text += n + (text[n] != 0);
    }
    return true;
}

/* A value within one line, whatever is taken for its end elsewhere. */
static bool is_line(const char *value) {
    for (; *value; value++) {
        if (((unsigned char)*value < ' ' && *value != '\t') || *value == 127) {
            return false;
        }
    }
    return true;
}

static enum MHD_Result on_header(void *payload, enum MHD_ValueKind kind, const char *name,
                                 const char *value) {
    struct head *head = payload;
    (void)kind;
    value = value ? value : "";
    head->bytes += strlen(name) + strlen(value);
    head->bad_name |= !is_token(name, strlen(name)) || !is_line(value);
    if (!strcasecmp(name, "Content-Length")) {
        head->lengths++;
        head->bad_name |= !*value || strspn(value, "0123456789") != strlen(value);
    } else if (!strcasecmp(name, "Transfer-Encoding")) {
        head->encodings++;
        head->not_chunked |= strcasecmp(value, "chunked") != 0;
    } else if (!strcasecmp(name, "Content-Encoding")) {
        head->compressed |= strcasecmp(value, "identity") != 0;
    } else if (!strcasecmp(name, "Host")) {
        head->hosts++;
        head->host = value;
    } else if (!strcasecmp(name, "Origin")) {
        head->origin = value;
    }
    return MHD_YES;
}

static struct head read_head(struct MHD_Connection *c) {
    struct head head = {0};
    MHD_get_connection_values(c, MHD_HEADER_KIND, on_header, &head);
    return head;
}

/* Is `origin` ("http://host:port") one that may? */
static bool is_allowed(const struct http *h, const char *origin) {
    for (size_t i = 0; i < h->options.allow_origin_count; i++) {
        const char *given = h->options.allow_origins[i];
        size_t n = strlen(given);
        while (n && given[n - 1] == '/') {
            n--;
        }
        if (strlen(origin) == n && !strncasecmp(origin, given, n)) {
            return true;
        }
    }
    return false;
}

static const char *behind_scheme(const char *origin) {
    const char *host = strstr(origin, "://");
    return host ? host + 3 : origin;
}

/* Names that nobody can point at us by DNS: numbers, localhost, and what the operator has named. */
static bool is_our_host(const struct http *h, const char *host) {
    char name[256];
    unsigned char address[16];
    size_t n = strlen(host);
    while (n && (host[n - 1] == ' ' || host[n - 1] == '\t')) {
        n--; /* behind a value blanks are no part of it */
    }
    if (n >= sizeof name || strcspn(host, " \t/@?#,") < n) {
        return false;
    }
    memcpy(name, host, n);
    name[n] = 0;
    if (name[0] == '[') {
        char *end = strchr(name, ']');
        if (!end || (end[1] && (end[1] != ':' || strspn(end + 2, "0123456789") != strlen(end + 2)))) {
            return false;
        }
        *end = 0;
        return inet_pton(AF_INET6, name + 1, address) == 1;
    }
    char *colon = strchr(name, ':');
    if (colon) {
        if (strspn(colon + 1, "0123456789") != strlen(colon + 1)) {
            return false;
        }
        *colon = 0;
    }
    if (!strcasecmp(name, "localhost") || inet_pton(AF_INET, name, address) == 1) {
        return true;
    }
    size_t own = strcspn(h->options.listen, ":");
    if (strlen(name) == own && !strncasecmp(name, h->options.listen, own)) {
        return own > 0;
    }
    for (size_t i = 0; i < h->options.allow_origin_count; i++) {
        const char *given = behind_scheme(h->options.allow_origins[i]);
        size_t length = strcspn(given, ":/");
        if (strlen(name) == length && !strncasecmp(name, given, length)) {
            return true;
        }
    }
    return false;
}

static bool same_origin(const struct head *head) {
    bool page = !strncasecmp(head->origin, "http://", 7) || !strncasecmp(head->origin, "https://", 8);
    return page && head->host && !strcasecmp(behind_scheme(head->origin), head->host);
}

static bool changes_something(const char *method) {
    return strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0 && strcmp(method, "OPTIONS") != 0;
}

static enum MHD_Result on_argument(void *payload, enum MHD_ValueKind kind, const char *name,
                                   const char *value) {
    (void)kind;
    *(size_t *)payload += strlen(name) + (value ? strlen(value) : 0) + 2;
    return MHD_YES;
}

/* Both are far below what MHD itself refuses, in words of its own. */
static int check_size(struct MHD_Connection *c, const char *url, size_t headers, struct problem *p) {
    size_t target = strlen(url);
    MHD_get_connection_values(c, MHD_GET_ARGUMENT_KIND, on_argument, &target);
    if (target > MOST_TARGET) {
        return problem_set(p, 414, NULL, "path and query have %zu bytes, more than the %zu that are taken",
                           target, MOST_TARGET);
    }
    if (headers > MOST_HEADERS) {
        return problem_set(p, 431, NULL, "the headers have %zu bytes, more than the %zu that are taken",
                           headers, MOST_HEADERS);
    }
    return 0;
}

int guard_check(struct http *h, struct MHD_Connection *c, const char *url, const char *method,
                struct problem *p) {
    struct head head = read_head(c);
    if (check_size(c, url, head.bytes, p)) {
        return p->status;
    }
    if (head.bad_name) {
        return problem_set(p, 400, NULL, "a header is malformed");
    }
    if (head.lengths > 1 || head.encodings > 1 || (head.lengths && head.encodings) || head.not_chunked) {
        return problem_set(p, 400, NULL, "the body's length is given in two ways, or in none that is known");
    }
    if (head.compressed) {
        return problem_set(p, 415, NULL, "bodies are taken as they are, not compressed");
    }
    if (head.hosts != 1 || !*head.host) {
        return problem_set(p, 400, NULL, "a request needs one Host header");
    }
    if (!is_our_host(h, head.host)) {
        return problem_set(
            p, 403, NULL,
            "this server does not answer to the name %.100s; use its address, or start it with "
            "--allow-origin for that name",
            head.host);
    }
    if (head.origin && changes_something(method) && !same_origin(&head) && !is_allowed(h, head.origin)) {
        return problem_set(p, 403, NULL, "pages of %.100s may not use this server; --allow-origin permits it",
                           head.origin);
    }
    return 0;
}

/* Scheme and name, as browsers send it: nothing else is ever the same. */
static bool is_origin(const char *text) {
    const char *host = behind_scheme(text);
    size_t n = strcspn(host, "/?#@* ,");
    return host > text + 3 && n && strspn(host + n, "/") == strlen(host + n);
}

int guard_options(const struct http_options *o, struct problem *p) {
    for (size_t i = 0; i < o->allow_origin_count; i++) {
        if (!is_origin(o->allow_origins[i])) {
            return problem_set(
                p, 400, "allow-origin",
                "\"%.100s\" is no origin; write one as http://localhost:5001, and the flag again for "
                "another",
                o->allow_origins[i]);
        }
    }
    if (o->base_path && *o->base_path && *o->base_path != '/') {
        return problem_set(p, 400, "base-path", "\"%.100s\" does not begin with a /", o->base_path);
    }
    return 0;
}

static struct MHD_Response *empty(void) {
    return MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
}

struct MHD_Response *guard_preflight(struct http *h, struct MHD_Connection *c, const char *method) {
    struct head head = read_head(c);
    if (strcmp(method, "OPTIONS") != 0 || !head.origin ||
        (!same_origin(&head) && !is_allowed(h, head.origin))) {
        return NULL;
    }
    struct MHD_Response *r = empty();
    if (r) {
        MHD_add_response_header(r, "Access-Control-Allow-Methods", "GET, POST, PATCH, DELETE, OPTIONS");
        /* SDKs send names of their own: which ones an origin sends that may is its business. */
        const char *asked = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Access-Control-Request-Headers");
        char names[MOST_ASKED + 100] = "content-type, authorization, idempotency-key, last-event-id";
        if (asked && strlen(asked) < MOST_ASKED && is_list(asked)) {
            size_t n = strlen(names);
            snprintf(names + n, sizeof names - n, ", %s", asked);
        }
        MHD_add_response_header(r, "Access-Control-Allow-Headers", names);
        MHD_add_response_header(r, "Access-Control-Max-Age", "600");
    }
    return r;
}

void guard_headers(struct http *h, struct MHD_Connection *c, struct MHD_Response *response) {
    struct head head = read_head(c);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "Vary", "Origin");
    if (head.origin && (is_allowed(h, head.origin))) {
        MHD_add_response_header(response, "Access-Control-Allow-Origin", head.origin);
    }
}
