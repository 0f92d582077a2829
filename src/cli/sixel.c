#include "cli/cli.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <sixel.h>

#define ANSWER_MS 300 /* a terminal on this machine answers within a few; one behind a slow line later */
#define COLOURS 256

/* The answer to DA1 is ESC [ ? class ; feature ; ... c, and feature 4 is sixel graphics (DEC VT340; XTerm's
 * "ctlseqs"). Waits at most ANSWER_MS for each piece of it. */
static bool reads_feature(int fd) {
    char answer[128];
    size_t n = 0;
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    while (n + 1 < sizeof answer && poll(&wait, 1, ANSWER_MS) > 0 && read(fd, answer + n, 1) == 1 &&
           answer[n] != 'c') {
        n++;
    }
    answer[n] = 0;
    return strstr(answer, ";4;") || (n >= 2 && !strcmp(answer + n - 2, ";4"));
}

bool terminal_has_sixel(void) {
    struct termios before, raw;
    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &before)) {
        return false;
    }
    raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw)) {
        return false;
    }
    bool has = write(STDOUT_FILENO, "\033[c", 3) == 3 && reads_feature(STDIN_FILENO);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    return has;
}

static int put(char *data, int size, void *stream) {
    return (int)fwrite(data, 1, (size_t)size, stream);
}

bool send_sixel(const ballast_image *image) {
    sixel_output_t *output = NULL;
    sixel_dither_t *dither = NULL;
    /* libsixel takes pixels without const and only reads them. */
    unsigned char *rgb = (unsigned char *)(uintptr_t)image->rgb; /* [height, width, 3] */
    bool sent = SIXEL_SUCCEEDED(sixel_output_new(&output, put, stdout, NULL)) &&
                SIXEL_SUCCEEDED(sixel_dither_new(&dither, COLOURS, NULL)) &&
                SIXEL_SUCCEEDED(sixel_dither_initialize(dither, rgb, image->width, image->height,
                                                        SIXEL_PIXELFORMAT_RGB888, SIXEL_LARGE_AUTO,
                                                        SIXEL_REP_AUTO, SIXEL_QUALITY_HIGH)) &&
                SIXEL_SUCCEEDED(sixel_encode(rgb, image->width, image->height, 8, dither, output));
    sixel_dither_unref(dither);
    sixel_output_unref(output);
    return sent;
}
