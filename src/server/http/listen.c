#include "server/http/internal.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* "[::1]:7860", "127.0.0.1:7860", ":7860" in host and port. */
static bool split(const char *text, char *host, size_t host_size, char *port, size_t port_size) {
    const char *colon = strrchr(text, ':');
    if (!colon || strlen(colon + 1) >= port_size || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
        !colon[1] || strtol(colon + 1, NULL, 10) > 65535) {
        return false;
    }
    size_t n = (size_t)(colon - text);
    if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
        text++;
        n -= 2;
    }
    if (n >= host_size) {
        return false;
    }
    memcpy(host, text, n);
    host[n] = 0;
    snprintf(port, port_size, "%s", colon + 1);
    return true;
}

static int listen_on(struct http *h, const struct addrinfo *a) {
    int on = 1;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    /* Free again at once after a server that was killed. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) || bind(fd, a->ai_addr, a->ai_addrlen) ||
        listen(fd, 1024)) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    h->listen_fd = fd;
    return 0;
}

static void name_address(struct http *h) {
    struct sockaddr_storage where;
    socklen_t length = sizeof where;
    char host[80], port[16];
    if (!getsockname(h->listen_fd, (struct sockaddr *)&where, &length) &&
        !getnameinfo((struct sockaddr *)&where, length, host, sizeof host, port, sizeof port,
                     NI_NUMERICHOST | NI_NUMERICSERV)) {
        bool six = where.ss_family == AF_INET6;
        snprintf(h->address, sizeof h->address, "http://%s%s%s:%s", six ? "[" : "", host, six ? "]" : "",
                 port);
    }
}

static bool is_loopback(const struct addrinfo *a) {
    if (a->ai_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)a->ai_addr;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)a->ai_addr;
    return a->ai_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

int listen_open(struct http *h, struct problem *p) {
    char host[256], port[16];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *list = NULL;
    if (!split(h->options.listen, host, sizeof host, port, sizeof port)) {
        return problem_set(p, 400, "listen",
                           "\"%.100s\" is no address; write HOST:PORT, such as 127.0.0.1:7860",
                           h->options.listen);
    }
    int rc = getaddrinfo(*host ? host : NULL, port, &hints, &list);
    if (rc) {
        return problem_set(p, 400, "listen", "\"%.100s\": %s", h->options.listen, gai_strerror(rc));
    }
    for (const struct addrinfo *a = list; a && !h->options.anywhere; a = a->ai_next) {
        if (!is_loopback(a)) {
            freeaddrinfo(list);
            return problem_set(
                p, 400, "listen",
                "%.100s can be reached by others; say who may come in with --auth FILE or --api-keys FILE, "
                "or spell out --insecure",
                h->options.listen);
        }
    }
    rc = -1;
    for (const struct addrinfo *a = list; a && rc; a = a->ai_next) {
        rc = listen_on(h, a);
    }
    freeaddrinfo(list);
    if (rc) {
        return problem_set(p, 400, "listen", "%.100s: %s; is another server there?", h->options.listen,
                           strerror(errno));
    }
    name_address(h);
    /* A connection is a file; the usual limit of 1024 is too few. */
    struct rlimit limit;
    if (!getrlimit(RLIMIT_NOFILE, &limit)) {
        limit.rlim_cur = limit.rlim_max > 65536 ? 65536 : limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        getrlimit(RLIMIT_NOFILE, &limit);
        int most = limit.rlim_cur > 256 ? (int)limit.rlim_cur - 128 : 128;
        if (!h->options.most_connections || h->options.most_connections > most) {
            h->options.most_connections = most;
        }
    }
    return 0;
}
