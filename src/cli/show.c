#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool contains(const char *text, const char *part) {
    return text && strstr(text, part);
}

/* A multiplexer between us and the terminal never lets kitty's and iTerm2's protocols through; whether it
 * draws sixel it answers for itself. */
static enum show_protocol ask_terminal(void) {
    const char *term = getenv("TERM"), *program = getenv("TERM_PROGRAM");
    if (!isatty(STDOUT_FILENO)) {
        return SHOW_NOTHING;
    }
    if (!getenv("TMUX") && !contains(term, "screen")) {
        if (getenv("KITTY_WINDOW_ID") || contains(term, "kitty") || contains(term, "ghostty")) {
            return SHOW_KITTY;
        }
        if (contains(program, "iTerm") || contains(program, "WezTerm")) {
            return SHOW_ITERM;
        }
    }
    return terminal_has_sixel() ? SHOW_SIXEL : SHOW_NOTHING;
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
                free(out);
                fclose(f);
                return NULL;
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

/* Both take the PNG file as it is. */
static bool send_file(enum show_protocol protocol, const char *path) {
    size_t raw_size;
    char *text = read_base64(path, &raw_size);
    if (text && protocol == SHOW_KITTY) {
        send_kitty(text);
    } else if (text) {
        printf("\033]1337;File=inline=1;size=%zu:%s\a", raw_size, text);
    }
    bool read = text;
    free(text);
    return read;
}

enum show_protocol find_show_protocol(bool quiet) {
    enum show_protocol protocol = ask_terminal();
    if (protocol == SHOW_NOTHING && !quiet) {
        fprintf(stderr, "ballast: --show: this is no terminal that shows pictures (kitty, Ghostty, iTerm2, "
                        "WezTerm and those with sixel do)\n");
    }
    return protocol;
}

void show_picture(enum show_protocol protocol, const ballast_image *image, const char *path, bool quiet) {
    if (protocol == SHOW_NOTHING) {
        return;
    }
    bool sent = protocol == SHOW_SIXEL ? send_sixel(image) : send_file(protocol, path);
    printf("\n");
    fflush(stdout);
    if (!sent && !quiet) {
        fprintf(stderr, "ballast: --show: out of memory\n");
    }
}
