#include "image/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_all(int fd, const uint8_t *data, size_t bytes) {
    while (bytes) {
        ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -1;
        }
        data += n;
        bytes -= (size_t)n;
    }
    return 0;
}

/* Opens a new file in the folder of `path` and writes its name, which the caller frees, to *name. Not
 * mkstemp: that makes files that only their owner may read, and the umask cannot be asked for without
 * changing it. */
static int open_temporary(char **name, const char *path) {
    static atomic_uint counter;
    const char *slash = strrchr(path, '/');
    int folder = slash ? (int)(slash - path + 1) : 0;
    for (int tries = 0; tries < 1000; tries++) {
        if (asprintf(name, "%.*s.ballast-%ld-%u.tmp", folder, path, (long)getpid(),
                     atomic_fetch_add(&counter, 1u)) < 0) {
            *name = NULL;
            errno = ENOMEM;
            return -1;
        }
        int fd = open(*name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST) {
            return fd;
        }
        free(*name); /* left behind by a process that had our number */
        *name = NULL;
    }
    return -1;
}

/* Gives the file its name unless that is taken: in one step where the file system can, else by taking the
 * name with an empty file first. */
static int rename_new(const char *from, const char *to) {
    if (!renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE)) {
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS) {
        return -1;
    }
    int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) {
        return -1;
    }
    close(fd);
    return rename(from, to);
}

int bl_file_write(const char *path, const uint8_t *data, size_t bytes, bool overwrite, bl_error *err) {
    char *temporary;
    int rc = BL_OK;
    int fd = open_temporary(&temporary, path);
    if (fd < 0) {
        rc = bl_fail(err, BL_E_IO, "cannot write %s: %s", path, strerror(errno));
        free(temporary);
        return rc;
    }
    bool written = !write_all(fd, data, bytes);
    int why = errno;
    if (close(fd) && written) {
        written = false;
        why = errno;
    }
    if (!written) {
        rc = bl_fail(err, BL_E_IO, "cannot write %s: %s", path, strerror(why));
        goto remove_temporary;
    }
    if (overwrite ? rename(temporary, path) : rename_new(temporary, path)) {
        rc = errno == EEXIST && !overwrite
                 ? bl_fail(err, BL_E_ARGUMENT, "%s exists already: choose another name or allow overwriting",
                           path)
                 : bl_fail(err, BL_E_IO, "cannot write %s: %s", path, strerror(errno));
        goto remove_temporary;
    }
    free(temporary);
    return BL_OK;
remove_temporary:
    unlink(temporary);
    free(temporary);
    return rc;
}

static int read_all(uint8_t **data, size_t *bytes, int fd, const char *path, size_t most, bl_error *err) {
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
    /* Not blocking: a FIFO without a writer would hold us before we can see that it is one. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return bl_fail_open(err, path, errno);
    }
    int rc = read_all(data, bytes, fd, path, most, err);
    close(fd);
    return rc;
}
