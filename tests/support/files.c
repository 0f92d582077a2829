#include "support/files.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define NAME_ROOM 256

void bl_test_folder(char path[BL_TEST_PATH]) {
    const char *where = getenv("TMPDIR");
    int n = snprintf(path, BL_TEST_PATH, "%s/ballast-test-XXXXXX", where ? where : "/tmp");
    assert_true(n < BL_TEST_PATH);
    if (!mkdtemp(path)) {
        fail_msg("cannot make %s: %s", path, strerror(errno));
    }
}

static int remove_one(const char *path, const struct stat *s, int kind, struct FTW *at) {
    (void)s;
    (void)kind;
    (void)at;
    return remove(path);
}

void bl_test_folder_remove(const char *path) {
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void bl_test_join(char path[BL_TEST_PATH], const char *folder, const char *name) {
    int n = snprintf(path, BL_TEST_PATH, "%s/%s", folder, name);
    assert_true(n < BL_TEST_PATH);
    for (char *p = path + strlen(folder) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        if (mkdir(path, 0777) && errno != EEXIST) {
            fail_msg("cannot make %s: %s", path, strerror(errno));
        }
        *p = '/';
    }
}

void bl_test_write(const char *path, const void *data, size_t bytes) {
    FILE *f = fopen(path, "we");
    if (!f || fwrite(data, 1, bytes, f) != bytes || fclose(f)) {
        fail_msg("cannot write %s: %s", path, strerror(errno));
    }
}

void bl_test_write_header(const char *path, const char *header, uint64_t data_bytes) {
    size_t length = strlen(header);
    unsigned char *start = malloc(8 + length);
    assert_non_null(start);
    for (int i = 0; i < 8; i++) {
        start[i] = (unsigned char)((uint64_t)length >> 8 * i);
    }
    memcpy(start + 8, header, length);
    bl_test_write(path, start, 8 + length);
    free(start);
    if (truncate(path, (off_t)(8 + length + data_bytes))) {
        fail_msg("cannot make %s longer: %s", path, strerror(errno));
    }
}

static uint64_t tensor_bytes(const bl_tensor_data *t) {
    uint64_t n = bl_dtype_size(t->dtype);
    for (int i = 0; i < t->rank; i++) {
        n *= (uint64_t)t->shape[i];
    }
    return n;
}

void bl_test_rewrite(const char *to, const char *from, bl_rewrite_fn *fn, void *context,
                     const char *const *metadata, int metadata_count) {
    bl_safetensors *f;
    bl_error err;
    int count, kept = 0;
    if (bl_safetensors_open(&f, from, &err)) {
        fail_msg("%s", err.message);
    }
    const bl_file_tensor *all = bl_safetensors_tensors(f, &count);
    bl_tensor_data *out = calloc((size_t)count + 1, sizeof *out);
    char(*names)[NAME_ROOM] = calloc((size_t)count + 1, NAME_ROOM);
    void **data = calloc((size_t)count + 1, sizeof *data);
    assert_true(out && names && data);
    for (int i = 0; i < count; i++) {
        bl_tensor_data t = {.dtype = all[i].dtype, .rank = all[i].rank};
        memcpy(t.shape, all[i].shape, sizeof t.shape);
        snprintf(names[kept], NAME_ROOM, "%s", all[i].name);
        if (!fn(context, names[kept], &t)) {
            continue;
        }
        t.name = names[kept];
        uint64_t bytes = tensor_bytes(&t);
        data[kept] = calloc(1, bytes + 1);
        assert_non_null(data[kept]);
        if (t.data) {
            memcpy(data[kept], t.data, bytes);
        } else if (bytes == all[i].bytes && bl_safetensors_read(f, all[i].offset, bytes, data[kept], &err)) {
            fail_msg("%s", err.message);
        }
        t.data = data[kept];
        out[kept++] = t;
    }
    if (bl_safetensors_write(to, out, kept, metadata, metadata_count, &err)) {
        fail_msg("%s", err.message);
    }
    for (int i = 0; i < kept; i++) {
        free(data[i]);
    }
    free(data);
    free(names);
    free(out);
    bl_safetensors_close(&f);
}
