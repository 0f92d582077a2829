#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define MOST_CELLS 30

void progress_bar_open(struct progress_bar *bar, bool quiet, int batch) {
    const char *term = getenv("TERM");
    *bar =
        (struct progress_bar){.terminal = isatty(STDERR_FILENO) && term && *term && strcmp(term, "dumb") != 0,
                              .quiet = quiet,
                              .last_tenth = -1,
                              .batch = batch};
}

static double seconds_now(void) {
    struct timespec t = {0};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int columns(void) {
    struct winsize size = {0};
    return !ioctl(STDERR_FILENO, TIOCGWINSZ, &size) && size.ws_col ? size.ws_col : 80;
}

static void format_seconds(char *out, size_t size, double s) {
    long whole = (long)(s + 0.5);
    if (whole < 60) {
        snprintf(out, size, "%lds", whole);
    } else if (whole < 3600) {
        snprintf(out, size, "%ldm%02lds", whole / 60, whole % 60);
    } else {
        snprintf(out, size, "%ldh%02ldm", whole / 3600, whole / 60 % 60);
    }
}

/* Seconds that the request still takes, from what this stage's steps took; -1: not known yet. Batches after
 * this one are taken to last as long as those that are done, or before the first is as this one. */
static double seconds_left(const struct progress_bar *bar, const ballast_progress *p, double each) {
    double now = seconds_now(), stage = each * (p->steps - p->step);
    int done = p->image / bar->batch, all = (p->images + bar->batch - 1) / bar->batch;
    double whole = done ? (bar->batch_began - bar->began) / done : now - bar->batch_began + stage;
    double here = done && whole - (now - bar->batch_began) > stage ? whole - (now - bar->batch_began) : stage;
    return here + whole * (all - done - 1);
}

/* ", 1.23 s/it, 1m21s left". A first step that loaded weights says nothing of the speed. */
static void format_speed(char *out, size_t size, const struct progress_bar *bar, const ballast_progress *p) {
    char left[32];
    int steps = p->step > 1 ? p->step - 1 : 1;
    double each = (p->step > 1 ? bar->last_step - bar->first_step : bar->last_step) / steps;
    if (p->step < 1 || (p->step == 1 && bar->loaded)) {
        *out = 0;
    } else if (p->step < p->steps || p->image + bar->batch < p->images) {
        format_seconds(left, sizeof left, seconds_left(bar, p, each));
        snprintf(out, size, ", %.2f s/it, %s left", each, left);
    } else {
        snprintf(out, size, ", %.2f s/it", each);
    }
}

/* "picture 2 of 4, denoise 3/20, 1.23 s/it, 1m21s left"; "pictures 1-4 of 8" are computed together. Before
 * the first step "denoise 0/20, loading weights 34%". */
static void format_state(char *out, size_t size, const struct progress_bar *bar, const ballast_progress *p) {
    char picture[64] = "", speed[64] = "";
    if (p->images > 1 && bar->batch > 1) {
        int last = p->image + bar->batch;
        snprintf(picture, sizeof picture, "pictures %d-%d of %d, ", p->image + 1,
                 last < p->images ? last : p->images, p->images);
    } else if (p->images > 1) {
        snprintf(picture, sizeof picture, "picture %d of %d, ", p->image + 1, p->images);
    }
    format_speed(speed, sizeof speed, bar, p);
    if (p->load_bytes) {
        snprintf(speed, sizeof speed, ", loading weights %.0f%%",
                 100 * (double)p->loaded_bytes / (double)p->load_bytes);
    }
    if (p->steps) {
        snprintf(out, size, "%s%s %d/%d%s", picture, p->stage, p->step, p->steps, speed);
    } else {
        snprintf(out, size, "%s%s%s", picture, p->stage, speed);
    }
}

static void show_bar(const ballast_progress *p, const char *state) {
    int width = columns() - 1, room = width - (int)strlen(state) - 3;
    int cells = room < MOST_CELLS ? room : MOST_CELLS;
    char bar[MOST_CELLS + 1];
    if (p->steps < 1 || cells < 8) { /* a line that wraps could not be cleared */
        fprintf(stderr, "\r\033[K%.*s", width, state);
        return;
    }
    int done = cells * p->step / p->steps;
    for (int i = 0; i < cells; i++) {
        bar[i] = i < done ? '=' : i == done ? '>' : ' ';
    }
    bar[cells] = 0;
    fprintf(stderr, "\r\033[K[%s] %s", bar, state);
}

void progress_bar_show(struct progress_bar *bar, const ballast_progress *p) {
    if (bar->quiet) {
        return;
    }
    char state[sizeof bar->state];
    int tenth = p->steps ? 10 * p->step / p->steps : 0;
    bool fresh = strcmp(bar->stage, p->stage) != 0 || bar->image != p->image;
    snprintf(bar->stage, sizeof bar->stage, "%s", p->stage);
    bar->loaded = p->load_bytes || (bar->loaded && !fresh);
    bar->load_told = bar->load_told && !fresh;
    bool slow = p->load_bytes && p->seconds > 1 && !bar->load_told;
    if (bar->began == 0 || bar->image != p->image) {
        bar->batch_began = seconds_now();
        bar->began = bar->began == 0 ? bar->batch_began : bar->began;
    }
    if (fresh || bar->step != p->step) {
        bar->step = p->step;
        bar->last_step = p->seconds;
        bar->first_step = p->step <= 1 ? p->seconds : bar->first_step;
    }
    bar->image = p->image;
    format_state(state, sizeof state, bar, p);
    if (bar->terminal) {
        /* called between blocks, too, when there is nothing new to see */
        if (strcmp(bar->state, state) != 0) {
            snprintf(bar->state, sizeof bar->state, "%s", state);
            show_bar(p, state);
            fflush(stderr);
        }
    } else if (fresh || slow || tenth != bar->last_tenth) {
        bar->load_told = bar->load_told || slow;
        fprintf(stderr, "%s\n", state);
    }
    bar->last_tenth = tenth;
}

void progress_bar_clear(struct progress_bar *bar) {
    if (bar->terminal && !bar->quiet && bar->stage[0]) {
        fprintf(stderr, "\r\033[K");
        fflush(stderr);
    }
    if (bar->terminal) {
        bar->stage[0] = 0;
        bar->state[0] = 0;
    }
}
