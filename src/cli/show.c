#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum protocol { SHOW_NOTHING, SHOW_KITTY, SHOW_ITERM };

static bool contains(const char *text, const char *part) {
    return text && strstr(text, part);
}

/* A multiplexer between us and the terminal lets neither protocol through. */
static enum protocol find_protocol(void) {
    const char *term = getenv("TERM"), *program = getenv("TERM_PROGRAM");
    if (getenv("TMUX") || contains(term, "screen")) {
        return SHOW_NOTHING;
    }
    if (getenv("KITTY_WINDOW_ID") || contains(term, "kitty") || contains(term, "ghostty")) {
        return SHOW_KITTY;
    }
    return contains(program, "iTerm") || contains(program, "WezTerm") ? SHOW_ITERM : SHOW_NOTHING;
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

/* kitty's protocol takes at most 4096 characters at a time. */
static void send_kitty(const char *text) {
    size_t left = strlen(text);
    for (const char *p = text; left;) {
        size_t n = left > 4096 ? 4096 : left;
        left -= n;
        printf("\033_G%sm=%d;%.*s\033\\", p == text ? "a=T,f=100," : "", left ? 1 : 0, (int)n, p);
        p += n;
    }
}

void show_picture(const char *path, bool quiet) {
    enum protocol protocol = find_protocol();
    if (!isatty(STDOUT_FILENO) || protocol == SHOW_NOTHING) {
        if (!quiet) {
            fprintf(stderr,
                    "ballast: --show: this is no terminal that shows pictures (kitty, Ghostty, iTerm2 "
                    "and WezTerm do)\n");
        }
        return;
    }
    size_t raw_size;
    char *text = read_base64(path, &raw_size);
    if (text && protocol == SHOW_KITTY) {
        send_kitty(text);
    } else if (text) {
        printf("\033]1337;File=inline=1;size=%zu:%s\a", raw_size, text);
    }
    printf("\n");
    fflush(stdout);
    free(text);
}
