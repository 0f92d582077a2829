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

/* The picture as PNG, in base64; *raw_size: bytes of the PNG. NULL: no memory. */
static char *to_base64(const ballast_image *image, size_t *raw_size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t *png;
    ballast_png_options o;
    ballast_png_options_init(&o, sizeof o);
    o.rgb = image->rgb;
    o.width = image->width;
    o.height = image->height;
    if (ballast_image_encode_png(&png, raw_size, &o, NULL)) {
        return NULL;
    }
    char *out = malloc(*raw_size / 3 * 4 + 5);
    size_t n = 0, left = *raw_size;
    for (const uint8_t *b = png; out && left; b += 3) {
        size_t got = left < 3 ? left : 3;
        unsigned v = (unsigned)b[0] << 16 | (got > 1 ? (unsigned)b[1] << 8 : 0) | (got > 2 ? b[2] : 0);
        out[n++] = digits[v >> 18];
        out[n++] = digits[v >> 12 & 63];
        out[n++] = got > 1 ? digits[v >> 6 & 63] : '=';
        out[n++] = got > 2 ? digits[v & 63] : '=';
        left -= got;
    }
    if (out) {
        out[n] = 0;
    }
    ballast_bytes_free(&png);
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

static bool send_png(enum show_protocol protocol, const ballast_image *image) {
    size_t raw_size;
    char *text = to_base64(image, &raw_size);
    if (text && protocol == SHOW_KITTY) {
        send_kitty(text);
    } else if (text) {
        printf("\033]1337;File=inline=1;size=%zu:%s\a", raw_size, text);
    }
    bool made = text;
    free(text);
    return made;
}

enum show_protocol find_show_protocol(bool quiet) {
    enum show_protocol protocol = ask_terminal();
    if (protocol == SHOW_NOTHING && !quiet) {
        fprintf(stderr, "ballast: --show: this is no terminal that shows pictures (kitty, Ghostty, iTerm2, "
                        "WezTerm and those with sixel do)\n");
    }
    return protocol;
}

void show_picture(enum show_protocol protocol, const ballast_image *image, bool quiet) {
    if (protocol == SHOW_NOTHING) {
        return;
    }
    bool sent = protocol == SHOW_SIXEL ? send_sixel(image) : send_png(protocol, image);
    printf("\n");
    fflush(stdout);
    if (!sent && !quiet) {
        fprintf(stderr, "ballast: --show: out of memory\n");
    }
}
