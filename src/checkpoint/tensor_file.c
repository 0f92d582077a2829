/* Files of tensors, whatever their form: opening, finding, reading. */
#include "checkpoint/tensor_file.h"

#include "core/checked.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int bl_fail_tensor(bl_error *err, const char *path, const char *name, const char *what) {
    return bl_fail(err, BL_E_FORMAT, "%.400s: tensor \"%.200s\": %s", path, name, what);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const bl_file_tensor *)a)->name, ((const bl_file_tensor *)b)->name);
}

void bl_tensor_file_sort(bl_safetensors *f) {
    qsort(f->tensors, (size_t)f->tensor_count, sizeof *f->tensors, by_name);
}

/* ---- opening */

/* By its first bytes: a GGUF file says what it is, whatever its name. */
static int parse(bl_safetensors *f, bl_error *err) {
    char magic[4] = "";
    const size_t n = sizeof magic;
    int rc = (uint64_t)f->opened.st_size < n ? 0 : bl_safetensors_read(f, 0, n, magic, err);
    if (rc) {
        return rc;
    }
    if (memcmp(magic, "GGUF", n) == 0) {
        return bl_gguf_parse(f, err);
    }
    rc = bl_safetensors_parse(f, err);
    return rc ? rc : bl_scales_resolve(f, err);
}

int bl_safetensors_open(bl_safetensors **out, const char *path, bl_error *err) {
    *out = NULL;
    bl_safetensors *f = calloc(1, sizeof *f);
    if (!f) {
        return bl_fail_memory(err, "an open file", sizeof *f);
    }
    int rc;
    f->fd = -1;
    f->path = strdup(path);
    if (!f->path) {
        rc = bl_fail_memory(err, "a path", strlen(path));
        goto fail;
    }
    /* O_NONBLOCK: opening a pipe must not wait for a writer. */
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f->fd < 0) {
        rc = bl_fail_open(err, path, errno);
        goto fail;
    }
    if (fstat(f->fd, &f->opened)) {
        rc = bl_fail(err, BL_E_IO, "cannot read %.400s: %s", path, strerror(errno));
        goto fail;
    }
    if (!S_ISREG(f->opened.st_mode)) {
        rc = bl_fail(err, BL_E_FORMAT, "%.400s is not a file", path);
        goto fail;
    }
    rc = parse(f, err);
    if (rc) {
        goto fail;
    }
    *out = f;
    return 0;
fail:
    bl_safetensors_close(&f);
    return rc;
}

void bl_safetensors_close(bl_safetensors **file) {
    bl_safetensors *f = *file;
    if (!f) {
        return;
    }
    if (f->fd >= 0) {
        close(f->fd);
    }
    free(f->scales);
    free(f->metadata);
    free(f->tensors);
    free(f->strings);
    free(f->path);
    free(f);
    *file = NULL;
}

/* ---- asking */

const char *bl_safetensors_path(const bl_safetensors *file) {
    return file->path;
}

const bl_file_tensor *bl_safetensors_tensors(const bl_safetensors *file, int *count) {
    *count = file->tensor_count;
    return file->tensors;
}

/* Index of the first tensor whose name is not below `name`. */
static int lower_bound(const bl_safetensors *file, const char *name) {
    int low = 0, high = file->tensor_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (strcmp(file->tensors[middle].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const bl_file_tensor *bl_safetensors_find(const bl_safetensors *file, const char *name) {
    int i = lower_bound(file, name);
    return i < file->tensor_count && strcmp(file->tensors[i].name, name) == 0 ? &file->tensors[i] : NULL;
}

const bl_file_tensor *bl_safetensors_find_prefix(const bl_safetensors *file, const char *prefix) {
    int i = lower_bound(file, prefix);
    return i < file->tensor_count && strncmp(file->tensors[i].name, prefix, strlen(prefix)) == 0
               ? &file->tensors[i]
               : NULL;
}

const char *bl_safetensors_metadata(const bl_safetensors *file, const char *key) {
    for (int i = 0; i < file->metadata_count; i++) {
        if (strcmp(file->metadata[i].key, key) == 0) {
            return file->metadata[i].value;
        }
    }
    return NULL;
}

const char *bl_safetensors_words(const bl_safetensors *file, uint64_t *count) {
    *count = file->word_count;
    return file->words;
}

/* ---- reading */

/* Looked at after reading, so that a change before or during the read is seen. */
static int check_unchanged(const bl_safetensors *f, bl_error *err) {
    struct stat now;
    if (fstat(f->fd, &now)) {
        return bl_fail(err, BL_E_IO, "cannot read %.400s: %s", f->path, strerror(errno));
    }
    if (now.st_size != f->opened.st_size) {
        return bl_fail(err, BL_E_IO,
                       "%.400s was changed while in use: it had %lld bytes and now has %lld; load it again",
                       f->path, (long long)f->opened.st_size, (long long)now.st_size);
    }
    if (now.st_mtim.tv_sec != f->opened.st_mtim.tv_sec || now.st_mtim.tv_nsec != f->opened.st_mtim.tv_nsec) {
        return bl_fail(err, BL_E_IO, "%.400s was written to while in use; load it again", f->path);
    }
    return 0;
}

int bl_safetensors_read(const bl_safetensors *file, uint64_t offset, uint64_t bytes, void *dst,
                        bl_error *err) {
    uint64_t end;
    if (!bl_add_u64(offset, bytes, &end) || end > (uint64_t)file->opened.st_size) {
        return bl_fail(err, BL_E_INTERNAL, "%.400s: a read behind the end of the file was asked for",
                       file->path);
    }
    for (uint64_t done = 0; done < bytes;) {
        size_t piece = bytes - done < (1u << 30) ? (size_t)(bytes - done) : 1u << 30;
        ssize_t got = pread(file->fd, (char *)dst + done, piece, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return bl_fail(err, BL_E_IO, "cannot read %.400s: %s", file->path, strerror(errno));
        }
        if (got == 0) { /* the end came early: it was cut short */
            int rc = check_unchanged(file, err);
            return rc ? rc : bl_fail(err, BL_E_IO, "cannot read %.400s: it ended early", file->path);
        }
        done += (uint64_t)got;
    }
    return check_unchanged(file, err);
}
