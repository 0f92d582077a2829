/* Folders of what is written: made when there is something to write, taken away again where nothing was. */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One that this program made. */
struct made {
    struct made *before;
    char path[];
};

static struct made *newest;

bool folder_of(char *folder, size_t size, const char *path) {
    const char *slash = strrchr(path, '/');
    while (slash && slash > path && slash[-1] == '/') {
        slash--;
    }
    size_t length = slash ? (size_t)(slash - path) + (slash == path) : 1;
    if (length >= size) {
        return false;
    }
    memmove(folder, slash ? path : ".", length);
    folder[length] = 0;
    return true;
}

/* Makes one; false where there is none, errno says why. One that was made is remembered, if there is memory
 * for it. */
static bool make_one(const char *path) {
    struct stat st;
    if (mkdir(path, 0777)) {
        int why = errno;
        bool there = !stat(path, &st) && S_ISDIR(st.st_mode);
        errno = why;
        return there;
    }
    struct made *m = malloc(sizeof *m + strlen(path) + 1);
    if (m) {
        m->before = newest;
        memcpy(m->path, path, strlen(path) + 1);
        newest = m;
    }
    return true;
}

void drop_empty_folders(void) {
    while (newest) {
        struct made *m = newest;
        newest = m->before;
        (void)rmdir(m->path); /* fails where something was written */
        free(m);
    }
}

int make_folders(const struct settings *s, enum setting_id id, const char *path) {
    char folder[4096];
    if (!folder_of(folder, sizeof folder, path)) {
        return too_long(s, id, path);
    }
    for (char *p = folder + 1; *p; p++) {
        if (*p == '/') {
            *p = 0;
            (void)make_one(folder); /* what is wrong with it the last one tells, too */
            *p = '/';
        }
    }
    return make_one(folder)
               ? 0
               : complain_of(s, id, "cannot make the folder \"%s\": %s", folder, strerror(errno));
}
