/* Each allocation of the command fails once: exit code 1 and one line that says so, or what is made without
 * it; nothing half-written, no signal. Of a run's some ten thousand allocations, most are those of a
 * checkpoint's header, some hundred are tried; with the argument "all" thirty times as many. */
#include "rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT ".streams/count" /* where rig_files does not look */

static char model[BL_TEST_PATH];
static bool all;

/* Runs it with allocation `n` failing; how many allocations there were. */
static long run(outcome *o, long n, const char *const *arguments) {
    const char *argv[RIG_ARGUMENTS + 1] = {getenv("BALLAST_TEST_FAILING")};
    char number[32];
    size_t bytes;
    assert_non_null(argv[0]);
    for (int i = 0; arguments[i]; i++) {
        argv[i + 1] = arguments[i];
    }
    snprintf(number, sizeof number, "%ld", n);
    setenv("BALLAST_TEST_FAIL", number, 1);
    setenv("BALLAST_TEST_FAIL_COUNT", COUNT, 1);
    unlink(COUNT);
    rig_run(o, argv);
    char *count = rig_read(COUNT, &bytes);
    long allocations = strtol(count, NULL, 10);
    free(count);
    return allocations;
}

/* Of `count` allocations all at the beginning, some at the end, and a few between. */
static long next(long n, long count) {
    long dense = all ? 400 : 40, step = all ? count / 600 : count / 20;
    return n < dense ? n + 1 : n >= count - 20 * dense ? n + (all ? 1 : 29) : n + 1 + step;
}

static void fail_each(const char *const *arguments, const char *writes) {
    outcome o = {0};
    long count = run(&o, -1, arguments), tried = 0, lived = 0;
    expect_success(&o);
    for (long n = 0; n < count; n = next(n, count), tried++) {
        unlink(writes);
        run(&o, n, arguments);
        if (o.code && (o.code != 1 || !strstr(o.err, "out of memory"))) {
            fail_msg("%s, allocation %ld of %ld: code %d\n%s", arguments[0], n, count, o.code, o.err);
        }
        if (o.code) {
            EXPECT_FAILURE(&o, 1, "out of memory");
        }
        lived += !o.code;
        if (rig_files("") != (access(writes, F_OK) ? 0 : 1)) {
            fail_msg("%s, allocation %ld of %ld: something is left behind", arguments[0], n, count);
        }
        if (o.code && !access(writes, F_OK)) {
            fail_msg("%s, allocation %ld of %ld: %s is there after a failure", arguments[0], n, count,
                     writes);
        }
    }
    print_message("%s: %ld allocations, %ld tried, done without %ld\n", arguments[0], count, tried, lived);
    unlink(writes);
    rig_free(&o);
}

#define FAIL_EACH(writes, ...) fail_each((const char *const[]){__VA_ARGS__, NULL}, writes)

static void allocations_of_the_command_may_fail(void **state) {
    (void)state;
    bl_synth_checkpoint(model, "sd15", BL_SYNTH_SINGLE_F16);
    FAIL_EACH("none", "config", "--json");
    FAIL_EACH("none", "inspect", model, "--arena", "64x64", "--verbose");
    FAIL_EACH("none", "plan", "-m", model, "-p", "a cat", "-W", "64", "-H", "64", "--compare", "--json");
    FAIL_EACH("a.png", "generate", "-m", model, "-p", "a cat", "-W", "64", "-H", "64", "-s", "1", "-S", "1",
              "-o", "a.png", "--json");
}

int main(int argc, char **argv) {
    all = argc > 1 && !strcmp(argv[1], "all");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocations_of_the_command_may_fail),
    };
    return cmocka_run_group_tests_name("cli.alloc", tests, rig_open, rig_close);
}
