#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

extern char **environ;

/* Where the standard streams of a run go: below the working folder, out of the way of rig_files. */
#define STREAMS ".streams"

static char folder[BL_TEST_PATH];

static void forget_settings(void) {
    bool again = true;
    while (again) { /* unsetenv moves what follows */
        again = false;
        for (char **e = environ; *e && !again; e++) {
            if (!strncmp(*e, "BALLAST_", 8) && strncmp(*e, "BALLAST_TEST_", 13) != 0) {
                char name[128];
                snprintf(name, sizeof name, "%.*s", (int)strcspn(*e, "="), *e);
                unsetenv(name);
                again = true;
            }
        }
    }
}

int rig_open(void **state) {
    (void)state;
    bl_test_folder(folder);
    if (chdir(folder) || mkdir(STREAMS, 0700)) {
        return -1;
    }
    const char *device = getenv("BALLAST_TEST_DEVICE"); /* then its libraries and what it keeps count, too */
    if (!device) {
        forget_settings();
        unsetenv("XDG_CACHE_HOME");
    }
    unsetenv("XDG_CONFIG_HOME");
    unsetenv("TERM_PROGRAM");
    unsetenv("KITTY_WINDOW_ID");
    setenv("TERM", "dumb", 1);
    setenv("HOME", folder, 1);
    setenv("BALLAST_THREADS", "1", 1);
    setenv("BALLAST_DEVICE", device ? device : "cpu", 1); /* whatever card is here */
    setenv("OMP_WAIT_POLICY", "passive", 1);
    return 0;
}

int rig_close(void **state) {
    (void)state;
    if (chdir("/")) {
        return -1;
    }
    bl_test_folder_remove(folder);
    return 0;
}

const char *rig_program(void) {
    const char *path = getenv("BALLAST_TEST_PROGRAM");
    if (!path) {
        fail_msg("the environment must name the program under test as BALLAST_TEST_PROGRAM");
    }
    return path;
}

static pid_t start(const char *const *argv) {
    posix_spawn_file_actions_t streams;
    pid_t pid;
    posix_spawn_file_actions_init(&streams);
    posix_spawn_file_actions_addopen(&streams, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&streams, 1, STREAMS "/out", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&streams, 2, STREAMS "/err", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    char *copies[RIG_ARGUMENTS + 2] = {NULL};
    for (int i = 0; argv[i]; i++) {
        assert_true(i < RIG_ARGUMENTS);
        copies[i] = strdup(argv[i]);
        assert_non_null(copies[i]);
    }
    int failed = posix_spawnp(&pid, argv[0], &streams, NULL, copies, environ);
    if (failed) {
        fail_msg("cannot run %s: %s", argv[0], strerror(failed));
    }
    for (int i = 0; copies[i]; i++) {
        free(copies[i]);
    }
    posix_spawn_file_actions_destroy(&streams);
    return pid;
}

void rig_wait(outcome *o, pid_t pid) {
    int status;
    while (waitpid(pid, &status, 0) < 0) {
        assert_int_equal(errno, EINTR);
    }
    rig_free(o);
    o->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    o->out = rig_read(STREAMS "/out", NULL);
    o->err = rig_read(STREAMS "/err", NULL);
}

void rig_run(outcome *o, const char *const *argv) {
    rig_wait(o, start(argv));
}

pid_t rig_start(const char *const *arguments) {
    const char *argv[RIG_ARGUMENTS + 1] = {rig_program()};
    for (int i = 0; arguments[i]; i++) {
        assert_true(i + 1 < RIG_ARGUMENTS);
        argv[i + 1] = arguments[i];
    }
    return start(argv);
}

void rig_ballast(outcome *o, const char *const *arguments) {
    rig_wait(o, rig_start(arguments));
}

bool rig_runs(pid_t pid) {
    siginfo_t info = {0};
    return !waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) && !info.si_pid;
}

char *rig_stdout(void) {
    return rig_read(STREAMS "/out", NULL);
}

char *rig_stderr(void) {
    return rig_read(STREAMS "/err", NULL);
}

void rig_free(outcome *o) {
    free(o->out);
    free(o->err);
    *o = (outcome){0};
}

void expect_contains(const char *text, const char *piece) {
    if (!strstr(text, piece)) {
        fail_msg("\"%s\" is not in:\n%s", piece, text);
    }
}

void expect_success(const outcome *o) {
    if (o->code || strstr(o->err, "ballast:")) {
        fail_msg("exit code %d, stderr:\n%s", o->code, o->err);
    }
}

void expect_failure(const outcome *o, int code, const char *const *pieces) {
    if (o->code != code) {
        fail_msg("exit code %d instead of %d, stderr:\n%s", o->code, code, o->err);
    }
    const char *line = strstr(o->err, "ballast: "), *end = line ? strchr(line, '\n') : NULL;
    if (!line || !end || end[1] || strstr(line + 1, "ballast: ")) {
        fail_msg("stderr does not end in one line of ours:\n%s", o->err);
    }
    assert_string_equal(o->out, "");
    for (; *pieces; pieces++) {
        expect_contains(line, *pieces);
    }
}

int rig_files(const char *part) {
    static const char *const ours[] = {".", "..", STREAMS, ".cache", ".config"};
    DIR *d = opendir(".");
    int count = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        bool skip = false;
        for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
            skip = skip || !strcmp(e->d_name, ours[i]);
        }
        count += !skip && strstr(e->d_name, part);
    }
    closedir(d);
    return count;
}

char *rig_read(const char *path, size_t *bytes) {
    FILE *f = fopen(path, "re");
    if (!f || fseek(f, 0, SEEK_END)) {
        fail_msg("cannot read %s: %s", path, strerror(errno));
    }
    size_t size = (size_t)ftell(f);
    char *data = malloc(size + 1);
    rewind(f);
    assert_non_null(data);
    size = fread(data, 1, size, f);
    data[size] = 0;
    fclose(f);
    if (bytes) {
        *bytes = size;
    }
    return data;
}

void expect_same_file(const char *a, const char *b) {
    size_t n, m;
    char *x = rig_read(a, &n), *y = rig_read(b, &m);
    bool same = n == m && !memcmp(x, y, n);
    free(x);
    free(y);
    if (!same) {
        fail_msg("%s and %s differ", a, b);
    }
}
