/* Each allocation of the command fails once: exit code 1 and one line that says so, or what is made without
 * it; nothing half-written (a picture is not there, or whole), no signal. Of the allocations to which the
 * same chain of calls leads, one fails (support/failing.h); of those every STRIDEth, and with the argument
 * "all" every one. */
#include "rig.h"

#include "support/slow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define WAYS ".streams/ways" /* where rig_files does not look */
#define STRIDE 19
#define ROOM 100000

static char model[BL_TEST_PATH];
static bool all;

static void run(outcome *o, const char *const *arguments) {
    const char *argv[RIG_ARGUMENTS + 1] = {getenv("BALLAST_TEST_FAILING")};
    assert_non_null(argv[0]);
    for (int i = 0; arguments[i]; i++) {
        argv[i + 1] = arguments[i];
    }
    rig_run(o, argv);
}

/* How many allocations there are, and the numbers of those that are worth failing. */
static long find_ways(long *numbers, long *worth, const char *const *arguments) {
    outcome o = {0};
    size_t bytes;
    setenv("BALLAST_TEST_FAIL_WAYS", WAYS, 1);
    run(&o, arguments);
    expect_success(&o);
    unsetenv("BALLAST_TEST_FAIL_WAYS");
    char *text = rig_read(WAYS, &bytes), *p;
    long count = strtol(text, &p, 10);
    for (*worth = 0; *worth < ROOM && p[0] && p[1]; ++*worth) {
        numbers[*worth] = strtol(p, &p, 10);
    }
    free(text);
    rig_free(&o);
    return count;
}

/* What the command writes where nothing fails. */
struct whole {
    char *text;
    size_t bytes;
};

static void fail_at(outcome *o, long n, const char *const *arguments, const char *writes,
                    const struct whole *whole) {
    char number[32];
    size_t bytes;
    snprintf(number, sizeof number, "%ld", n);
    setenv("BALLAST_TEST_FAIL", number, 1);
    unlink(writes);
    run(o, arguments);
    if (o->code && (o->code != 1 || !strstr(o->err, "out of memory"))) {
        fail_msg("%s, allocation %ld: code %d\n%s", arguments[0], n, o->code, o->err);
    }
    if (o->code) {
        EXPECT_FAILURE(o, 1, "out of memory");
    }
    if (rig_files("") != (access(writes, F_OK) ? 0 : 1)) {
        fail_msg("%s, allocation %ld: something is left behind", arguments[0], n);
    }
    if (o->code && !access(writes, F_OK)) {
        char *text = rig_read(writes, &bytes);
        if (bytes != whole->bytes || memcmp(text, whole->text, bytes) != 0) {
            fail_msg("%s, allocation %ld: %s is half-written", arguments[0], n, writes);
        }
        free(text);
    }
}

static void fail_each(const char *const *arguments, const char *writes) {
    static long numbers[ROOM];
    outcome o = {0};
    struct whole whole = {0};
    long worth, tried = 0, lived = 0, count = find_ways(numbers, &worth, arguments);
    if (!access(writes, F_OK)) {
        whole.text = rig_read(writes, &whole.bytes);
    }
    long stride = all ? 1 : bl_test_slow() ? 3 * STRIDE : STRIDE;
    for (long i = 0; i < worth; i += stride, tried++) {
        fail_at(&o, numbers[i], arguments, writes, &whole);
        lived += !o.code;
    }
    print_message("%s: %ld allocations, %ld of them worth failing, %ld tried, done without %ld\n",
                  arguments[0], count, worth, tried, lived);
    unlink(writes);
    free(whole.text);
    rig_free(&o);
}

#define FAIL_EACH(writes, ...) fail_each((const char *const[]){__VA_ARGS__, NULL}, writes)

static void allocations_of_the_command_may_fail(void **state) {
    (void)state;
    bl_synth_checkpoint(model, "sd15", BL_SYNTH_SINGLE_F16);
    FAIL_EACH("none", "config", "--json");
    FAIL_EACH("none", "inspect", model, "--arena", "64x64", "--verbose");
    FAIL_EACH("none", "plan", "-m", model, "-p", "a cat", "-W", "64", "-H", "64", "--compare", "--advise",
              "sdnext", "--json");
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
