/* Ctrl-C: the work ends within a step, nothing is left behind, exit code 130. */
#include "rig.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static void nap(void) {
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

/* Starts a generation that would take far longer than the test, waits until its stderr holds `mark`, sends
 * the signal. */
static void stop_at(outcome *o, const char *mark, int number) {
    char model[BL_TEST_PATH];
    bl_synth_checkpoint(model, "sd15", BL_SYNTH_SINGLE);
    pid_t pid =
        rig_start((const char *const[]){"generate", "-m", model, "-p", "a fox", "-W", "256", "-H", "256",
                                        "--steps", "1000", "--count", "100", "-o", "out.png", NULL});
    for (bool seen = false; !seen; nap()) {
        char *printed = rig_stderr();
        seen = strstr(printed, mark) != NULL;
        free(printed);
        if (!seen && !rig_runs(pid)) {
            fail_msg("it ended before \"%s\"", mark);
        }
    }
    kill(pid, number);
    rig_wait(o, pid);
}

static void test_during_a_step(void **state) {
    outcome o = {0};
    (void)state;
    stop_at(&o, "denoise 0/1000", SIGINT);
    EXPECT_FAILURE(&o, 130, "stopped");
    assert_int_equal(rig_files(""), 0);
    rig_free(&o);
}

static void test_terminated(void **state) {
    outcome o = {0};
    (void)state;
    stop_at(&o, "denoise 0/1000", SIGTERM);
    EXPECT_FAILURE(&o, 143, "stopped");
    assert_int_equal(rig_files(""), 0);
    rig_free(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_during_a_step),
        cmocka_unit_test(test_terminated),
    };
    return cmocka_run_group_tests_name("cli.interrupt", tests, rig_open, rig_close);
}
