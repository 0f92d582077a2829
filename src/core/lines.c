#include "core/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

bool bl_lines_open(bl_lines *l, const char *path) {
    l->fd = open(path, O_RDONLY | O_CLOEXEC);
    l->at = l->end = 0;
    return l->fd >= 0;
}

/* The next byte; -1 at the end. */
static int next_byte(bl_lines *l) {
    while (l->at == l->end) {
        ssize_t n = read(l->fd, l->buffer, sizeof l->buffer);
        if (n <= 0 && !(n < 0 && errno == EINTR)) {
            return -1;
        }
        l->at = 0;
        l->end = n > 0 ? (size_t)n : 0;
    }
    return (unsigned char)l->buffer[l->at++];
}

bool bl_lines_next(bl_lines *l, char *line, size_t room) {
    size_t n = 0;
    int c = next_byte(l);
    bool any = c >= 0;
    for (; c >= 0 && c != '\n'; c = next_byte(l)) {
        if (n + 1 < room) {
            line[n++] = (char)c;
        }
    }
    line[n] = 0;
    return any;
}

void bl_lines_close(bl_lines *l) {
    close(l->fd);
}

bool bl_first_line(const char *path, char *line, size_t room) {
    bl_lines l;
    if (!bl_lines_open(&l, path)) {
        return false;
    }
    bool found = bl_lines_next(&l, line, room);
    bl_lines_close(&l);
    return found;
}
