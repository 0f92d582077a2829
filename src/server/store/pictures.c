#include "server/store/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PART ".part" /* suffix of a picture that is being written */

static int fail_file(struct problem *p, const char *path) {
    int status = errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? 507 : 500;
    return problem_set(p, status, NULL, "%s cannot be written: %s", path, strerror(errno));
}

/* The whole file under its name, or nothing. */
static int write_whole(const char *path, const void *data, size_t bytes, struct problem *p) {
    char *part = NULL;
    if (asprintf(&part, "%s" PART, path) < 0) {
        return problem_set(p, 500, NULL, "out of memory");
    }
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool good = fd >= 0;
    for (size_t at = 0; good && at < bytes;) {
        ssize_t n = write(fd, (const char *)data + at, bytes - at);
        good = n > 0 || (n < 0 && errno == EINTR);
        at += n > 0 ? (size_t)n : 0;
    }
    good = good && !fdatasync(fd);
    int saved = errno;
    if (fd >= 0 && close(fd) && good) {
        saved = errno;
        good = false;
    }
    if (good && rename(part, path)) {
        saved = errno;
        good = false;
    }
    if (!good) {
        unlink(part);
        errno = saved;
        fail_file(p, path);
    }
    free(part);
    return good ? 0 : p ? p->status : 500;
}

int store_add_picture(void *self, const char *id, const struct kept_picture *picture, struct problem *p) {
    struct store *s = self;
    char name[64], seed[24];
    char *path = NULL;
    snprintf(name, sizeof name, "%s-%d.png", id, picture->index);
    snprintf(seed, sizeof seed, "%" PRIu64, picture->seed);
    if (asprintf(&path, "%s/%s", s->pictures, name) < 0) {
        return problem_set(p, 500, NULL, "out of memory");
    }
    int status = write_whole(path, picture->png, picture->bytes, p);
    free(path);
    if (status) {
        return status;
    }
    pthread_mutex_lock(&s->lock);
    status = sql_run(
        s, p,
        "INSERT INTO pictures(job, number, seed, width, height, file, bytes, parameters, created)"
        " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(job, number) DO UPDATE SET"
        " seed = excluded.seed, bytes = excluded.bytes, parameters = excluded.parameters",
        "titiititd", id, (int64_t)picture->index, seed, (int64_t)picture->width, (int64_t)picture->height,
        name, (int64_t)picture->bytes, picture->parameters, (double)time(NULL));
    pthread_mutex_unlock(&s->lock);
    return status;
}

static int read_whole(const char *path, char **data, size_t *bytes, struct problem *p) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    *data = NULL;
    *bytes = 0;
    if (fd < 0 || fstat(fd, &st)) {
        int status = problem_set(p, 404, NULL, "the picture's file is not there any more");
        if (fd >= 0) {
            close(fd);
        }
        return status;
    }
    char *out = malloc((size_t)st.st_size + 1);
    size_t at = 0;
    while (out && at < (size_t)st.st_size) {
        ssize_t n = read(fd, out + at, (size_t)st.st_size - at);
        if (n <= 0 && !(n < 0 && errno == EINTR)) {
            break;
        }
        at += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    if (!out || at < (size_t)st.st_size) {
        free(out);
        return problem_set(p, 500, NULL, "the picture's file cannot be read");
    }
    *data = out;
    *bytes = at;
    return 0;
}

int store_picture(void *self, const char *id, int index, char **png, size_t *bytes, struct problem *p) {
    struct store *s = self;
    char *path = NULL;
    *png = NULL;
    pthread_mutex_lock(&s->lock);
    sqlite3_stmt *q =
        sql_prepare(s, p, "SELECT file FROM pictures WHERE job = ? AND number = ?", "ti", id, (int64_t)index);
    int step = q ? sql_step(s, q, p) : -1;
    if (step > 0 && asprintf(&path, "%s/%s", s->pictures, (const char *)sqlite3_column_text(q, 0)) < 0) {
        path = NULL;
    }
    sqlite3_finalize(q);
    pthread_mutex_unlock(&s->lock);
    if (!step) {
        return problem_set(p, 404, NULL, "there is no picture %d of job %s", index, id);
    }
    if (!path) {
        return step < 0 ? 500 : problem_set(p, 500, NULL, "out of memory");
    }
    int status = read_whole(path, png, bytes, p);
    free(path);
    return status;
}

/* Deletes the files of the pictures that the statement names, then their rows. Locked. */
static int remove_pictures(struct store *s, sqlite3_stmt *q, struct problem *p) {
    int step = -1;
    while (q && (step = sql_step(s, q, p)) > 0) {
        char *path = NULL;
        if (asprintf(&path, "%s/%s", s->pictures, (const char *)sqlite3_column_text(q, 1)) >= 0) {
            unlink(path);
            free(path);
        }
        step = sql_run(s, p, "DELETE FROM pictures WHERE n = ?", "i", sqlite3_column_int64(q, 0)) ? -1 : 0;
        if (step < 0) {
            break;
        }
    }
    sqlite3_finalize(q);
    return step < 0 ? 500 : 0;
}

/* The rows from the newest down, and what of them lies beyond the bytes. */
#define BEYOND                                                                                       \
    "SELECT n, file FROM (SELECT n, file, sum(bytes) OVER (ORDER BY n DESC) AS total FROM pictures)" \
    " WHERE total > ?"

int store_retain(void *self, int64_t bytes, struct problem *p) {
    struct store *s = self;
    pthread_mutex_lock(&s->lock);
    int status = remove_pictures(s, sql_prepare(s, p, BEYOND, "i", bytes), p);
    if (!status) {
        status = sql_run(s, p,
                         "DELETE FROM jobs WHERE state IN ('done', 'failed', 'cancelled') AND NOT EXISTS"
                         " (SELECT 1 FROM pictures WHERE job = id) AND n < (SELECT max(n) FROM jobs) - 10000",
                         "");
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

int store_forget(void *self, const char *id, int index, struct problem *p) {
    struct store *s = self;
    pthread_mutex_lock(&s->lock);
    int status = remove_pictures(
        s,
        sql_prepare(s, p, "SELECT n, file FROM pictures WHERE job = ? AND (? < 0 OR number = ?)", "tii", id,
                    (int64_t)index, (int64_t)index),
        p);
    if (!status) {
        status = sql_run(s, p,
                         "DELETE FROM jobs WHERE id = ? AND state NOT IN ('queued', 'running') AND NOT EXISTS"
                         " (SELECT 1 FROM pictures WHERE job = id)",
                         "t", id);
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

void store_sweep(struct store *s) {
    DIR *folder = opendir(s->pictures);
    struct dirent *entry;
    while (folder && (entry = readdir(folder))) {
        size_t n = strlen(entry->d_name), suffix = strlen(PART);
        if (n > suffix && !strcmp(entry->d_name + n - suffix, PART)) {
            unlinkat(dirfd(folder), entry->d_name, 0);
        }
    }
    if (folder) {
        closedir(folder);
    }
}
