#include "core/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static int fail(bl_error *err, const char *path, int why) {
    return why == ENOMEM ? bl_fail(err, BL_E_MEMORY, "out of memory: writing %.400s", path)
                         : bl_fail(err, BL_E_IO, "cannot write %.400s: %s", path, strerror(why));
}

int bl_new_file_begin(bl_new_file *out, const char *path, bl_error *err) {
    struct stat st;
    bl_new_file file = {.path = path};
    if (!stat(path, &st) && !S_ISREG(st.st_mode)) { /* renaming would take even /dev/null's place */
        return bl_fail(err, BL_E_ARGUMENT, "cannot write %.400s: it is there, and no regular file", path);
    }
    int fd = open_temporary(&file.temporary, path);
    file.f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file.f) {
        int rc = fail(err, path, errno);
        if (fd >= 0) {
            close(fd);
            unlink(file.temporary);
        }
        free(file.temporary);
        return rc;
    }
    *out = file;
    return 0;
}

int bl_new_file_end(bl_new_file *file, int failed, bool overwrite, bl_error *err) {
    int rc = failed, why = errno; /* of an earlier write, where one failed */
    bool lost = ferror(file->f);
    if (!lost && fflush(file->f)) {
        lost = true;
        why = errno;
    }
    if (fclose(file->f) && !lost) {
        lost = true;
        why = errno;
    }
    if (!rc && lost) {
        rc = fail(err, file->path, why ? why : EIO);
    }
    if (!rc && (overwrite ? rename(file->temporary, file->path) : rename_new(file->temporary, file->path))) {
        rc = errno == EEXIST && !overwrite
                 ? bl_fail(err, BL_E_ARGUMENT,
                           "%.400s exists already: choose another name or allow overwriting", file->path)
                 : fail(err, file->path, errno);
    }
    if (rc) {
        unlink(file->temporary);
    }
    free(file->temporary);
    *file = (bl_new_file){0};
    return rc;
}
