/* Any head of a request: a line with METHOD URL, then lines Name: value. What passes can be read in one way
 * only, is meant for this machine, and comes from no foreign page. Nobody comes in by an Authorization that
 * is not theirs. */
#include "fuzz.h"

#include "server/auth/auth.h"
#include "server/http/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#define MOST 64

/* MHD's part: these stand before its own. */
struct MHD_Connection {
    char *names[MOST], *values[MOST];
    int count;
};

int MHD_get_connection_values(struct MHD_Connection *c, enum MHD_ValueKind kind, MHD_KeyValueIterator each,
                              void *payload) {
    int n = 0;
    for (;
         kind == MHD_HEADER_KIND && n < c->count && each(payload, kind, c->names[n], c->values[n]) == MHD_YES;
         n++) {
    }
    return n;
}

static const char *value_of(const struct MHD_Connection *c, const char *name, int *times) {
    const char *found = NULL;
    *times = 0;
    for (int i = 0; i < c->count; i++) {
        if (!strcasecmp(c->names[i], name)) {
            found = c->values[i];
            (*times)++;
        }
    }
    return found;
}

static struct auth *people(void) {
    static struct auth *auth;
    char users[] = "/tmp/fuzz_head_XXXXXX", keys[] = "/tmp/fuzz_head_XXXXXX";
    struct problem p = {0};
    if (auth) {
        return auth;
    }
    static const char line[] = /* of a password that no input has */
        "ann:$6$5a3Otn3Ob/w374of$CyV1Os5oXy7yubQiLgABc3dxm3yMfQa/PgM/48yEOCJwmXsh6B3FpDqwJS8IE/"
        "R7Uf/kJ67E8I2AVxuCKqUKn1\n";
    static const char key[] = "0123456789abcdef\n";
    int a = mkstemp(users), b = mkstemp(keys);
    MUST(a >= 0 && b >= 0 && write(a, line, sizeof line - 1) > 0 && write(b, key, sizeof key - 1) > 0);
    close(a);
    close(b);
    MUST(!auth_open(&auth, users, keys, &p));
    unlink(users);
    unlink(keys);
    return auth;
}

static void check_authorization(const char *text) {
    struct problem p = {0};
    bool bearer = text && !strncasecmp(text, "Bearer", 6), has_key = text && strstr(text, "0123456789abcdef");
    int quick = auth_check(people(), text, true, &p);
    MUST(quick == 0 || quick == 401 || quick == AUTH_LATER);
    MUST(quick != 401 || p.text[0]);
    MUST(text || quick == 401);
    MUST(!bearer || quick == 401 || (quick == 0 && has_key));
    int whole = auth_check(people(), text, false, &p);
    MUST(whole == 0 || whole == 401);
    MUST(quick == AUTH_LATER || whole == quick);
    MUST(quick != AUTH_LATER || whole == 401);
}

static void check_accepted(const struct MHD_Connection *c) {
    int lengths, encodings, hosts, times;
    const char *length = value_of(c, "Content-Length", &lengths), *host = value_of(c, "Host", &hosts);
    value_of(c, "Transfer-Encoding", &encodings);
    MUST(lengths + encodings <= 1 && hosts == 1);
    MUST(!length || (*length && strspn(length, "0123456789") == strlen(length)));
    MUST(!strcasestr(host, "evil"));
    const char *origin = value_of(c, "Origin", &times);
    MUST(!origin || times > 1 || !strcasestr(origin, "evil"));
}

static void check_path(const char *url) {
    char *copy = strdup(url);
    MUST(copy);
    size_t n = path_unescape(copy);
    MUST(n == strlen(copy) && n <= strlen(url));
    char *path = path_route(copy, "/sd/");
    MUST(path && *path && strlen(path) <= n + 1 && !strstr(path, "//"));
    MUST(path[0] != '/' || !path[1] || path[strlen(path) - 1] != '/');
    free(path);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct MHD_Connection c = {.count = 0};
    struct http h = {.options = {.listen = "127.0.0.1:7860"}};
    struct problem p = {0};
    char *text = calloc(1, size + 1), *rest = NULL;
    MUST(text);
    memcpy(text, data, size);
    char *method = strtok_r(text, "\n", &rest), *url = method ? strchr(method, ' ') : NULL;
    for (char *line; method && c.count < MOST && (line = strtok_r(NULL, "\n", &rest));) {
        char *colon = strchr(line, ':');
        if (colon) {
            *colon = 0;
            c.names[c.count] = line;
            c.values[c.count++] = colon + 1 + strspn(colon + 1, " \t");
        }
    }
    if (url) {
        int times;
        *url++ = 0;
        int status = guard_check(&h, &c, url, method, &p);
        MUST(!status || (status >= 400 && status < 500 && p.text[0] && p.status == status));
        if (!status && (!strcmp(method, "POST") || !strcmp(method, "DELETE"))) {
            check_accepted(&c);
        }
        check_authorization(value_of(&c, "Authorization", &times));
        check_path(url);
    }
    free(text);
    return 0;
}
