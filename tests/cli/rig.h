/* Runs programs as a person would and catches what they print. What goes wrong in here fails the running
 * test. */
#ifndef BALLAST_TESTS_CLI_RIG_H
#define BALLAST_TESTS_CLI_RIG_H

#include "support/files.h"
#include "support/goldens.h"
#include "support/synth.h"

#include <stdbool.h>
#include <sys/types.h>

/* Most arguments of a command. */
#define RIG_ARGUMENTS 64

/* What a program did. Begin with {0}; rig_run frees what the run before it left. */
typedef struct outcome {
    int code;  /* exit code; 128 + the signal that ended it */
    char *out; /* what it printed on stdout */
    char *err; /* and on stderr */
} outcome;

/* cmocka's group set-up and tear-down: a new, empty folder to work in, which is also the home, one thread,
 * and none of the user's settings. */
int rig_open(void **state);
int rig_close(void **state);

/* Runs a program, found in PATH unless it has a '/', and waits for it. The list ends with NULL. */
void rig_run(outcome *o, const char *const *argv);
/* The same for `ballast ARGUMENT...`; the list ends with NULL. */
#define BALLAST(o, ...) rig_ballast(o, (const char *const[]){__VA_ARGS__, NULL})
void rig_ballast(outcome *o, const char *const *arguments);
void rig_free(outcome *o);

/* Starts `ballast` and returns at once; rig_wait takes what it did. Only one at a time. */
pid_t rig_start(const char *const *arguments);
void rig_wait(outcome *o, pid_t pid);
/* Has it not ended yet? */
bool rig_runs(pid_t pid);
/* What it has printed on stdout and stderr until now; caller frees. */
char *rig_stdout(void);
char *rig_stderr(void);

/* The run succeeded and printed nothing on stderr but progress. */
void expect_success(const outcome *o);
/* The run failed with this code and nothing on stdout, and one line on stderr that holds each of the given
 * pieces; the list ends with NULL. */
#define EXPECT_FAILURE(o, code, ...) expect_failure(o, code, (const char *const[]){__VA_ARGS__, NULL})
void expect_failure(const outcome *o, int code, const char *const *pieces);
/* `text` holds `piece`. */
void expect_contains(const char *text, const char *piece);

/* How many entries the working folder has whose names contain `part`, but for .cache and .config. */
int rig_files(const char *part);

/* A whole file; caller frees. */
char *rig_read(const char *path, size_t *bytes);
/* Both files have the same bytes. */
void expect_same_file(const char *a, const char *b);

/* Path of the program under test. */
const char *rig_program(void);

#endif
