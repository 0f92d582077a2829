/* Callers of a server on this machine: many that are only connected, some that ask again and again.
 *
 *     bench_load PORT IDLE POLLERS HZ PATH
 *
 * Prints "ready" once all are connected, asks until its standard input ends, then prints one line of JSON:
 * answers, asked_late (a caller's answer was not there when it should have asked again), lost (idle
 * connections that were closed), not_200, and in milliseconds p50, p99, worst of an answer; cpu: seconds that
 * this program took itself. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MOST_ANSWERS (1 << 20)
#define TICK_SECONDS 0.005

struct caller {
    int fd;
    bool asks, waits; /* it polls; its answer is outstanding */
    double due, sent;
    size_t got, need; /* bytes of the answer; need 0: not known yet */
    char data[4096];  /* the answer's beginning */
};

struct load {
    struct caller *callers; /* [count], the pollers first */
    int count, pollers, epoll;
    double period;
    char request[512];
    size_t request_bytes;
    float *seconds; /* [answers] */
    long answers, late, lost, bad;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int connect_to(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) || fcntl(fd, F_SETFL, O_NONBLOCK)) {
        die("connect");
    }
    return fd;
}

static void ask(struct load *l, struct caller *c, double t) {
    c->due += l->period;
    if (c->waits) {
        l->late++;
        return;
    }
    c->waits = true;
    c->got = c->need = 0;
    c->sent = t;
    if (send(c->fd, l->request, l->request_bytes, MSG_NOSIGNAL) != (ssize_t)l->request_bytes) {
        die("send");
    }
}

/* How long an answer is, once its head is there; 0: it is not. */
static size_t length_of(const char *data, size_t bytes) {
    const char *end = memmem(data, bytes, "\r\n\r\n", 4);
    if (!end) {
        return 0;
    }
    const char *length = strcasestr(data, "\r\nContent-Length:");
    return (size_t)(end - data) + 4 + (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
}

static void take(struct load *l, struct caller *c) {
    char rest[65536];
    for (;;) {
        size_t room = c->got < sizeof c->data - 1 ? sizeof c->data - 1 - c->got : 0;
        ssize_t n = recv(c->fd, room ? c->data + c->got : rest, room ? room : sizeof rest, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (n <= 0) {
            l->lost++;
            epoll_ctl(l->epoll, EPOLL_CTL_DEL, c->fd, NULL);
            return;
        }
        c->got += (size_t)n;
        if (!c->need) {
            c->data[c->got < sizeof c->data ? c->got : sizeof c->data - 1] = 0;
            c->need = length_of(c->data, strlen(c->data));
        }
        if (c->waits && c->need && c->got >= c->need) {
            c->waits = false;
            l->bad += strncmp(c->data + 9, "200", 3) != 0;
            if (l->answers < MOST_ANSWERS) {
                l->seconds[l->answers++] = (float)(now() - c->sent);
            }
            return;
        }
    }
}

static void open_all(struct load *l, int port) {
    for (int i = 0; i < l->count; i++) {
        struct caller *c = &l->callers[i];
        struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c};
        c->fd = connect_to(port);
        c->asks = i < l->pollers;
        if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &e)) {
            die("epoll");
        }
    }
}

static void run(struct load *l) {
    struct epoll_event events[256];
    int tick = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct itimerspec every = {{0, (long)(TICK_SECONDS * 1e9)}, {0, (long)(TICK_SECONDS * 1e9)}};
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    if (tick < 0 || (l->pollers && timerfd_settime(tick, 0, &every, NULL)) ||
        epoll_ctl(l->epoll, EPOLL_CTL_ADD, tick, &e)) {
        die("timer");
    }
    e.data.ptr = l;
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &e)) {
        die("standard input");
    }
    double start = now();
    for (int i = 0; i < l->pollers; i++) {
        l->callers[i].due = start + l->period * i / l->pollers;
    }
    for (int next = 0;;) {
        int n = epoll_wait(l->epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == l) {
                close(tick);
                return;
            }
            if (events[i].data.ptr) {
                take(l, events[i].data.ptr);
                continue;
            }
            uint64_t times;
            double t = now();
            if (read(tick, &times, sizeof times) < 0 && errno != EAGAIN) {
                die("timer");
            }
            for (; l->callers[next].due <= t; next = (next + 1) % l->pollers) {
                ask(l, &l->callers[next], now());
            }
        }
    }
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double part(const struct load *l, double of) {
    return l->answers ? 1e3 * (double)l->seconds[(long)((double)(l->answers - 1) * of)] : 0;
}

static void tell(const struct load *l, double cpu) {
    qsort(l->seconds, (size_t)l->answers, sizeof *l->seconds, by_size);
    printf("{\"answers\": %ld, \"asked_late\": %ld, \"lost\": %ld, \"not_200\": %ld, \"p50\": %.3f, \"p99\": "
           "%.3f, "
           "\"worst\": %.3f, \"cpu\": %.3f}\n",
           l->answers, l->late, l->lost, l->bad, part(l, 0.5), part(l, 0.99), part(l, 1), cpu);
}

static double cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

int main(int argc, char **argv) {
    struct load l = {.epoll = epoll_create1(EPOLL_CLOEXEC)};
    struct rlimit files;
    if (argc != 6) {
        fprintf(stderr, "usage: bench_load PORT IDLE POLLERS HZ PATH\n");
        return 2;
    }
    l.pollers = atoi(argv[3]);
    l.count = atoi(argv[2]) + l.pollers;
    l.period = 1 / atof(argv[4]);
    l.callers = calloc((size_t)l.count + 1, sizeof *l.callers);
    l.seconds = malloc(MOST_ANSWERS * sizeof *l.seconds);
    if (!l.callers || !l.seconds || l.epoll < 0) {
        die("memory");
    }
    l.request_bytes = (size_t)snprintf(l.request, sizeof l.request,
                                       "GET %.400s HTTP/1.1\r\nHost: localhost\r\n\r\n", argv[5]);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    open_all(&l, atoi(argv[1]));
    printf("ready\n");
    fflush(stdout);
    double before = cpu_seconds();
    run(&l);
    tell(&l, cpu_seconds() - before);
    return 0;
}
