#include "core/text_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_open_file(char **out, size_t *n, int fd, const char *path, size_t most, bl_error *err) {
    *out = NULL;
    struct stat s;
    if (fstat(fd, &s) || !S_ISREG(s.st_mode) || s.st_size < 0 || (size_t)s.st_size > most) {
        return bl_fail(err, BL_E_FORMAT, "%.400s is not a file, or larger than %zu bytes", path, most);
    }
    size_t size = (size_t)s.st_size, done = 0;
    char *text = malloc(size + 1);
    if (!text) {
        return bl_fail_memory(err, "a text file", size);
    }
    while (done < size) {
        ssize_t got = read(fd, text + done, size - done);
        if (got < 0 && errno != EINTR) {
            int code = errno;
            free(text);
            return bl_fail(err, BL_E_IO, "cannot read %.400s: %s", path, strerror(code));
        }
        if (got == 0) {
            break; /* cut short since: who parses it says where */
        }
        done += got > 0 ? (size_t)got : 0;
    }
    text[done] = '\0';
    *out = text;
    *n = done;
    return 0;
}

int bl_text_file_read(char **out, size_t *n, const char *path, size_t most, bl_error *err) {
    *out = NULL;
    /* O_NONBLOCK: opening a pipe must not wait for a writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return errno == ENOENT || errno == ENOTDIR ? 0 : bl_fail_open(err, path, errno);
    }
    int rc = read_open_file(out, n, fd, path, most, err);
    close(fd);
    return rc;
}
