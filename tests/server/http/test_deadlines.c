/* The room http by itself, with deadlines of a second: what a caller may take its time with, and what not.
 * Nearly all of it is waiting, so each test has a process of its own, and they wait at once. */
#include "server/http/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define LARGE ((size_t)24 << 20)
#define SLACK 2.5 /* seconds: looks are not taken all the time, and the machine may be busy */

static struct http *http;
static int port;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void nap(double seconds) {
    nanosleep(
        &(struct timespec){.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (time_t)seconds) * 1e9)},
        NULL);
}

static void let_end(void *payload) {
    *(atomic_bool *)payload = true;
}

static atomic_bool stream_left;

/* "/large": an answer that fills every buffer. "/stream": one that is never ended by us. Else {}. */
static void handle(void *payload, struct exchange *x) {
    (void)payload;
    bool large = !strcmp(x->path, "/large"), stream = !strcmp(x->path, "/stream");
    char *body = large || stream ? calloc(1, LARGE) : strdup("{}");
    assert_non_null(body);
    if (!stream) {
        exchange_answer(x, 200, "application/json", body, large ? LARGE : 2);
        return;
    }
    exchange_watch(x, let_end, &stream_left);
    exchange_stream(x, 200, "text/event-stream");
    exchange_write(x, body, LARGE);
    free(body);
    for (int i = 0; i < 200 && !stream_left; i++) {
        nap(0.05);
    }
    exchange_end(x);
}

static char *describe(void *payload, const char *path, const struct problem *p) {
    char *text = malloc(strlen(p->text) + 20);
    (void)payload;
    (void)path;
    assert_non_null(text);
    strcpy(text, "{\"detail\":\"");
    strcat(text, p->text);
    strcat(text, "\"}");
    return text;
}

static int start(int rate) {
    struct http_options o = {.listen = "127.0.0.1:0",
                             .most_body = 1 << 20,
                             .most_bodies = 4 << 20,
                             .header_seconds = 1,
                             .answer_seconds = 1,
                             .least_rate = rate,
                             .idle_seconds = 3,
                             .handle = handle,
                             .describe = describe};
    struct problem p = {0};
    stream_left = false;
    assert_int_equal(http_start(&http, &o, &p), 0);
    port = atoi(strrchr(http_address(http), ':') + 1);
    return 0;
}

static int set_up(void **state) {
    (void)state;
    return start(32768);
}

/* So that even what fills every buffer is late soon. */
static int set_up_fast(void **state) {
    (void)state;
    return start(32 << 20);
}

static int tear_down(void **state) {
    (void)state;
    http_close(&http);
    return 0;
}

static int open_socket(int buffer) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    if (buffer) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    }
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    struct timeval limit = {.tv_sec = 15};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
}

static void say(int fd, const char *text) {
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Everything until the other end closes; the bytes. -1: it did not. */
static ssize_t read_out(int fd, char *out, size_t room) {
    char rest[65536];
    size_t total = 0;
    for (;;) {
        bool fits = total + 1 < room;
        ssize_t n = recv(fd, fits ? out + total : rest, fits ? room - total - 1 : sizeof rest, 0);
        if (n <= 0) {
            out[fits ? total : room - 1] = 0;
            return n == 0 || errno == ECONNRESET ? (ssize_t)total : -1;
        }
        total += (size_t)n;
    }
}

static bool is_closed(int fd) {
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    return n == 0 || (n < 0 && errno != EAGAIN);
}

/* Sends a byte every 0.2 s until the other end closes. The seconds. */
static double drip(int fd, char what) {
    double start = now();
    while (now() - start < 15 && !is_closed(fd) && send(fd, &what, 1, MSG_NOSIGNAL) == 1) {
        nap(0.2);
    }
    return now() - start;
}

static void check_alive(void) {
    char out[512];
    int fd = open_socket(0);
    say(fd, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_true(read_out(fd, out, sizeof out) > 0);
    assert_non_null(strstr(out, " 200 "));
    close(fd);
}

static void header_by_bytes(void **state) {
    double start = now();
    (void)state;
    int fd = open_socket(0), line = open_socket(0);
    say(fd, "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");
    say(line, "G"); /* the request line alone, too */
    assert_in_range((int)(drip(fd, 'a') * 10), 9, 10 + (int)(SLACK * 10));
    drip(line, 'G');
    assert_in_range((int)((now() - start) * 10), 9, 10 + (int)(SLACK * 10));
    close(fd);
    close(line);
    check_alive();
}

/* The same on a connection that has had its answer. */
static void second_header_by_bytes(void **state) {
    char out[512];
    (void)state;
    int fd = open_socket(0);
    say(fd, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_true(recv(fd, out, sizeof out, 0) > 0);
    nap(0.1);
    assert_in_range((int)(drip(fd, 'G') * 10), 9, 15 + (int)(SLACK * 10));
    close(fd);
}

static void body_by_bytes(void **state) {
    (void)state;
    int fd = open_socket(0);
    say(fd, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n");
    assert_in_range((int)(drip(fd, ' ') * 10), 9, 10 + (int)(SLACK * 10));
    close(fd);
    check_alive();
}

/* A body that is announced and does not come. */
static void body_that_stays_away(void **state) {
    char out[64];
    (void)state;
    int fd = open_socket(0);
    double start = now();
    say(fd, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{");
    assert_int_equal(read_out(fd, out, sizeof out), 0);
    assert_in_range((int)((now() - start) * 10), 9, 10 + (int)(SLACK * 10));
    close(fd);
}

/* A body that is slow, and as fast as is asked, may take longer than the deadline. */
static void body_that_takes_its_time(void **state) {
    char piece[32768], out[512];
    (void)state;
    memset(piece, ' ', sizeof piece);
    int fd = open_socket(0);
    say(fd, "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 163840\r\n\r\n");
    for (int i = 0; i < 5; i++) {
        assert_int_equal(send(fd, piece, sizeof piece, MSG_NOSIGNAL), sizeof piece);
        nap(0.35);
    }
    assert_true(read_out(fd, out, sizeof out) > 0);
    assert_non_null(strstr(out, " 200 "));
    close(fd);
}

/* Nobody reads it: the connection goes before all of it was sent. */
static void answer_unread(void **state) {
    static const char *const asks[] = {"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n",
                                       "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n"};
    char out[64];
    (void)state;
    int fd[2];
    for (size_t i = 0; i < 2; i++) {
        fd[i] = open_socket(4096);
        say(fd[i], asks[i]);
    }
    nap(2 + SLACK);
    for (size_t i = 0; i < 2; i++) {
        ssize_t bytes = read_out(fd[i], out, sizeof out);
        assert_true(bytes >= 0 && bytes < (ssize_t)LARGE);
        close(fd[i]);
    }
    assert_true(stream_left); /* who writes is told */
    check_alive();
}

/* It is read slowly, but fast enough. */
static void answer_read_slowly(void **state) {
    char out[64];
    (void)state;
    int fd = open_socket(0);
    say(fd, "GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    nap(0.7);
    assert_true(read_out(fd, out, sizeof out) > (ssize_t)LARGE);
    close(fd);
}

static void connection_without_request(void **state) {
    char out[64];
    (void)state;
    double start = now();
    int fd = open_socket(0);
    assert_int_equal(read_out(fd, out, sizeof out), 0);
    assert_in_range((int)((now() - start) * 10), 29, 30 + (int)(SLACK * 10));
    close(fd);
}

#define COUNT 8

/* This program once for each test, with its name. */
static int run_each(char *self, const struct CMUnitTest tests[COUNT]) {
    pid_t children[COUNT];
    int failed = 0;
    for (int i = 0; i < COUNT; i++) {
        char *words[] = {self, (char *)(uintptr_t)tests[i].name, NULL};
        if (posix_spawn(&children[i], self, NULL, NULL, words, environ)) {
            children[i] = -1;
        }
    }
    for (int i = 0; i < COUNT; i++) {
        int status = -1;
        failed += children[i] < 0 || waitpid(children[i], &status, 0) != children[i] || status;
    }
    return failed;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[COUNT] = {
        cmocka_unit_test_setup_teardown(header_by_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(second_header_by_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(body_by_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(body_that_stays_away, set_up, tear_down),
        cmocka_unit_test_setup_teardown(body_that_takes_its_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(answer_unread, set_up_fast, tear_down),
        cmocka_unit_test_setup_teardown(answer_read_slowly, set_up_fast, tear_down),
        cmocka_unit_test_setup_teardown(connection_without_request, set_up, tear_down),
    };
    if (argc < 2) {
        return run_each(argv[0], tests);
    }
    cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
