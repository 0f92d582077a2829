/* Pictures in terminals: the command runs in a pseudo-terminal that answers as a real one does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/rig.h"
#include "core/error.h"
#include "image/png.h"

#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sixel.h>

#define SIDE 64

static char model[BL_TEST_PATH];

/* Runs generate --show in a terminal that answers the question for its features with `answer`; what it
 * printed there, which the caller frees. *code: its exit code. */
static char *run_in_terminal(int *code, const char *output, const char *answer,
                             const char *const *environment) {
    size_t used = 0, room = 1 << 22;
    char *screen = calloc(1, room);
    int fd;
    bool answered = false;
    assert_non_null(screen);
    pid_t pid = forkpty(&fd, NULL, NULL, NULL);
    assert_true(pid >= 0);
    if (!pid) {
        for (int i = 0; environment[i]; i += 2) {
            setenv(environment[i], environment[i + 1], 1);
        }
        execl(rig_program(), "ballast", "generate", "-m", model, "-p", "a fox", "-W", "64", "-H", "64", "-s",
              "1", "-S", "3", "--show", "--overwrite", "-o", output, (char *)NULL);
        _exit(127);
    }
    for (ssize_t n; used + 1 < room && (n = read(fd, screen + used, room - 1 - used)) > 0;) {
        used += (size_t)n;
        if (!answered && strstr(screen, "\033[c")) {
            answered = true;
            assert_int_equal(write(fd, answer, strlen(answer)), (ssize_t)strlen(answer));
        }
    }
    int status = 0;
    close(fd);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    *code = WEXITSTATUS(status);
    return screen;
}

static char *show_in_terminal(const char *answer, const char *const *environment) {
    int code;
    char *screen = run_in_terminal(&code, "shown.png", answer, environment);
    assert_int_equal(code, 0);
    return screen;
}

static const char *const plain[] = {"TERM", "xterm-256color", "TERM_PROGRAM", "", NULL};

static void test_sixel(void **state) {
    (void)state;
    char *screen = show_in_terminal("\033[?62;4;22c", plain), *start = strstr(screen, "\033P");
    unsigned char *pixels = NULL, *palette = NULL;
    int width = 0, height = 0, colours = 0;
    bl_picture png;
    bl_error err = {0};
    double error = 0;
    assert_non_null(start);
    assert_int_equal(sixel_decode_raw((unsigned char *)start, (int)strlen(start), &pixels, &width, &height,
                                      &palette, &colours, NULL),
                     SIXEL_OK);
    assert_int_equal(width, SIDE);
    assert_int_equal(bl_png_read(&png, "shown.png", &err), 0);
    for (int i = 0; i < SIDE * SIDE; i++) {
        for (int c = 0; c < 3; c++) {
            double d = (double)palette[3 * pixels[i] + c] - png.rgb[3 * i + c];
            error += d * d / (SIDE * SIDE * 3);
        }
    }
    /* 256 colours, in steps of a hundredth, spread over neighbours: far from equal, farther from another
     * picture */
    assert_true(error < 900);
    free(pixels);
    free(palette);
    free(screen);
    bl_picture_clear(&png);
}

static void test_no_pictures(void **state) {
    (void)state;
    char *screen = show_in_terminal("\033[?62;22c", plain);
    expect_contains(screen, "--show: this is no terminal that shows pictures");
    assert_null(strstr(screen, "\033P"));
    free(screen);
}

static void test_kitty(void **state) {
    (void)state;
    char *screen = show_in_terminal("", (const char *const[]){"TERM", "xterm-kitty", NULL});
    expect_contains(screen, "\033_Ga=T,f=100,m=");
    assert_null(strstr(screen, "\033[c"));
    free(screen);
}

static void test_iterm(void **state) {
    (void)state;
    char *screen = show_in_terminal(
        "", (const char *const[]){"TERM", "xterm-256color", "TERM_PROGRAM", "iTerm.app", NULL});
    expect_contains(screen, "\033]1337;File=inline=1;size=");
    free(screen);
}

/* A terminal can show a picture, but takes no PNG. */
static void test_png_on_terminal(void **state) {
    int code;
    (void)state;
    char *screen = run_in_terminal(&code, "-", "", (const char *const[]){"TERM", "xterm-kitty", NULL});
    assert_int_equal(code, 2);
    expect_contains(screen, "ballast: --output: standard output (\"-\") is a terminal");
    assert_null(strstr(screen, "PNG"));
    free(screen);
}

static int open_group(void **state) {
    int failed = rig_open(state);
    bl_synth_checkpoint(model, "sd15", BL_SYNTH_SINGLE);
    return failed;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sixel), cmocka_unit_test(test_no_pictures),
                                       cmocka_unit_test(test_kitty), cmocka_unit_test(test_iterm),
                                       cmocka_unit_test(test_png_on_terminal)};
    return cmocka_run_group_tests(tests, open_group, rig_close);
}
