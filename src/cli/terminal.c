#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void progress_bar_open(struct progress_bar *bar, int quiet) {
    *bar = (struct progress_bar){.terminal = isatty(STDERR_FILENO), .quiet = quiet, .last_tenth = -1};
}

static void format_seconds(char *out, size_t size, double s) {
    if (s < 60) {
        snprintf(out, size, "%.0fs", s);
    } else {
        snprintf(out, size, "%.0fm%02.0fs", (double)((long)s / 60), (double)((long)s % 60));
    }
}

static void show_bar(const ballast_progress *p) {
    char eta[32] = "";
    double each = p->step ? p->seconds / p->step : 0;
    format_seconds(eta, sizeof eta, each * (p->steps - p->step));
    char cells[31];
    for (int i = 0; i < 30; i++) {
        cells[i] = i < 30 * p->step / p->steps ? '=' : i == 30 * p->step / p->steps ? '>' : ' ';
    }
    cells[30] = 0;
    fprintf(stderr, "\r\033[K%-8s [%s] %d/%d  %.2f s/it  %s left", p->stage, cells, p->step, p->steps, each,
            eta);
}

void progress_bar_show(struct progress_bar *bar, const ballast_progress *p) {
    if (bar->quiet) {
        return;
    }
    int tenth = p->steps ? 10 * p->step / p->steps : 0;
    int new_stage = strcmp(bar->stage, p->stage) != 0;
    snprintf(bar->stage, sizeof bar->stage, "%s", p->stage);
    if (bar->terminal) {
        if (p->steps) {
            show_bar(p);
        } else {
            fprintf(stderr, "\r\033[K%s ...", p->stage);
        }
        fflush(stderr);
    } else if (new_stage || tenth != bar->last_tenth) {
        if (p->steps) {
            fprintf(stderr, "%s: step %d of %d\n", p->stage, p->step, p->steps);
        } else {
            fprintf(stderr, "%s\n", p->stage);
        }
    }
    bar->last_tenth = tenth;
}

void progress_bar_clear(struct progress_bar *bar) {
    if (bar->terminal && !bar->quiet && bar->stage[0]) {
        fprintf(stderr, "\r\033[K");
        fflush(stderr);
    }
    bar->stage[0] = 0;
}

static char *read_base64(const char *path, size_t *raw_size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    FILE *f = fopen(path, "rbe");
    char *out = NULL;
    size_t n = 0, room = 0;
    unsigned char b[3];
    *raw_size = 0;
    for (size_t got; f && (got = fread(b, 1, 3, f)) > 0; *raw_size += got) {
        if (n + 5 > room) {
            room = room ? room * 2 : 1 << 16;
            char *more = realloc(out, room);
            if (!more) {
                break;
            }
            out = more;
        }
        unsigned v = (unsigned)b[0] << 16 | (got > 1 ? (unsigned)b[1] << 8 : 0) | (got > 2 ? b[2] : 0);
        out[n++] = digits[v >> 18];
        out[n++] = digits[v >> 12 & 63];
        out[n++] = got > 1 ? digits[v >> 6 & 63] : '=';
        out[n++] = got > 2 ? digits[v & 63] : '=';
        out[n] = 0;
    }
    if (f) {
        fclose(f);
    }
    return out;
}

void show_picture(const char *path) {
    const char *term = getenv("TERM"), *program = getenv("TERM_PROGRAM");
    int kitty =
        getenv("KITTY_WINDOW_ID") || (term && strstr(term, "kitty")) || (term && strstr(term, "ghostty"));
    int iterm = program && (!strcmp(program, "iTerm.app") || !strcmp(program, "WezTerm"));
    if (!isatty(STDOUT_FILENO) || (!kitty && !iterm)) {
        return;
    }
    size_t raw_size;
    char *text = read_base64(path, &raw_size);
    if (!text) {
        return;
    }
    if (kitty) { /* the protocol takes at most 4096 characters at a time */
        size_t left = strlen(text);
        for (const char *p = text; left;) {
            size_t n = left > 4096 ? 4096 : left;
            left -= n;
            printf("\033_G%sm=%d;%.*s\033\\", p == text ? "a=T,f=100," : "", left ? 1 : 0, (int)n, p);
            p += n;
        }
    } else {
        printf("\033]1337;File=inline=1;size=%zu:%s\a", raw_size, text);
    }
    printf("\n");
    free(text);
}
