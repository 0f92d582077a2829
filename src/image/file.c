#include "image/file.h"

#include "core/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int bl_file_write(const char *path, const uint8_t *data, size_t bytes, bool overwrite, bl_error *err) {
    bl_new_file file;
    int rc = bl_new_file_begin(&file, path, err);
    if (rc) {
        return rc;
    }
    fwrite(data, 1, bytes, file.f);
    return bl_new_file_end(&file, 0, overwrite, err);
}

static int read_all(uint8_t **data, size_t *bytes, int fd, const char *path, size_t most, bl_error *err) {
    *data = NULL;
    struct stat st;
    if (fstat(fd, &st)) {
        return bl_fail(err, BL_E_IO, "cannot read %s: %s", path, strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) {
        return bl_fail(err, BL_E_ARGUMENT, "cannot read %s: it is not a regular file", path);
    }
    if ((uint64_t)st.st_size > most) {
        return bl_fail(err, BL_E_ARGUMENT, "cannot read %s: it has %lld bytes, at most %zu can be used", path,
                       (long long)st.st_size, most);
    }
    size_t size = (size_t)st.st_size, got = 0;
    uint8_t *buffer = malloc(size ? size : 1);
    if (!buffer) {
        return bl_fail_memory(err, path, size);
    }
    while (got < size) {
        ssize_t n = read(fd, buffer + got, size - got);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            int rc =
                bl_fail(err, BL_E_IO, "cannot read %s: %s", path, n ? strerror(errno) : "it became shorter");
            free(buffer);
            return rc;
        }
        got += (size_t)n;
    }
    *data = buffer;
    *bytes = size;
    return BL_OK;
}

int bl_file_read(uint8_t **data, size_t *bytes, const char *path, size_t most, bl_error *err) {
    *data = NULL;
    /* Not blocking: a FIFO without a writer would hold us before we can see that it is one. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return bl_fail_open(err, path, errno);
    }
    int rc = read_all(data, bytes, fd, path, most, err);
    close(fd);
    return rc;
}
