#include "device/cuda/keep.h"

#include "core/new_file.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define MOST (64u << 20)

/* What stands before the bytes in a file. */
typedef struct head {
    uint64_t key, count, hash;
} head;

uint64_t bl_cuda_hash(uint64_t h, const void *bytes, size_t count) {
    const unsigned char *b = bytes;
    for (size_t i = 0; i < count; i++) {
        h = (h ^ b[i]) * 1099511628211u;
    }
    return h;
}

/* $XDG_CACHE_HOME/ballast/cuda-KEY.KIND; false: nowhere to keep it. */
static bool path_of(char *out, size_t bytes, uint64_t key, const char *kind, bool make) {
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char folder[PATH_MAX];
    if (!(xdg && *xdg) && !(home && *home)) {
        return false;
    }
    snprintf(folder, sizeof folder, "%s%s/ballast", xdg && *xdg ? xdg : home, xdg && *xdg ? "" : "/.cache");
    if (make) {
        mkdir(folder, 0777);
    }
    int used = snprintf(out, bytes, "%s/cuda-%016llx.%s", folder, (unsigned long long)key, kind);
    return used > 0 && (size_t)used < bytes;
}

bool bl_cuda_keep_read(bl_cuda_kept *out, uint64_t key, const char *kind) {
    char path[PATH_MAX + 64];
    FILE *f = path_of(path, sizeof path, key, kind, false) ? fopen(path, "rb") : NULL;
    head h = {0};
    bool good = f && fread(&h, sizeof h, 1, f) == 1 && h.key == key && h.count && h.count <= MOST;
    out->bytes = good ? malloc((size_t)h.count) : NULL;
    out->count = (size_t)h.count;
    good = out->bytes && fread(out->bytes, 1, out->count, f) == out->count &&
           bl_cuda_hash(key, out->bytes, out->count) == h.hash;
    if (f) {
        fclose(f);
    }
    if (!good) {
        free(out->bytes);
        out->bytes = NULL;
    }
    return good;
}

void bl_cuda_keep_write(const bl_cuda_kept *x, uint64_t key, const char *kind) {
    char path[PATH_MAX + 64];
    bl_new_file file;
    head h = {.key = key, .count = x->count, .hash = bl_cuda_hash(key, x->bytes, x->count)};
    if (path_of(path, sizeof path, key, kind, true) && !bl_new_file_begin(&file, path, NULL)) {
        bool bad = fwrite(&h, sizeof h, 1, file.f) != 1 || fwrite(x->bytes, 1, x->count, file.f) != x->count;
        bl_new_file_end(&file, bad ? BL_E_IO : 0, true, NULL);
    }
}
