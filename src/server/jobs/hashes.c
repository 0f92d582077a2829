#include "server/jobs/internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK ((size_t)1 << 20)

/* The file's SHA-256 in hex; false: it cannot be read, or the server goes down. */
static bool hash_file(struct jobs *j, const char *path, char hex[65]) {
    unsigned char sum[32];
    unsigned n = 0;
    uint8_t *block = malloc(BLOCK);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool good = block && fd >= 0 && md && EVP_DigestInit_ex(md, EVP_sha256(), NULL);
    ssize_t got = 1;
    while (good && got > 0) {
        got = read(fd, block, BLOCK);
        good = got >= 0 && !atomic_load(&j->no_hash) && EVP_DigestUpdate(md, block, (size_t)got);
    }
    good = good && EVP_DigestFinal_ex(md, sum, &n) && n == sizeof sum;
    for (size_t i = 0; good && i < sizeof sum; i++) {
        snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    }
    EVP_MD_CTX_free(md);
    if (fd >= 0) {
        close(fd);
    }
    free(block);
    return good;
}

/* Hashed before, and not changed since? Else now. */
static bool find_hash(struct jobs *j, const char *path, const char *title, char hex[65]) {
    struct stat st;
    char *key = NULL, *kept = NULL;
    if (stat(path, &st) || asprintf(&key, "sha256 %jd %jd.%09ld %s", (intmax_t)st.st_size,
                                    (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, title) < 0) {
        return false;
    }
    j->keeper.get_setting(j->keeper.self, key, &kept, NULL);
    bool good = kept && strlen(kept) == 64;
    if (good) {
        memcpy(hex, kept, 65);
    } else if ((good = hash_file(j, path, hex))) {
        j->keeper.set_setting(j->keeper.self, key, hex, NULL);
    }
    free(kept);
    free(key);
    return good;
}

/* The next file without a hash, copied; false: there is none. Folders have none. */
static bool next_file(struct jobs *j, int *at, char **path, char **title) {
    *path = *title = NULL;
    pthread_mutex_lock(&j->lock);
    for (; *at < j->catalogue.model_count && !*path; (*at)++) {
        const struct model_entry *e = &j->catalogue.models[*at];
        if (!e->folder && !e->sha256[0]) {
            *path = strdup(e->path);
            *title = strdup(e->title);
        }
    }
    pthread_mutex_unlock(&j->lock);
    return *path && *title;
}

static void *hash_main(void *payload) {
    struct jobs *j = payload;
    char *path, *title, hex[65];
    int at = 0;
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19); /* pictures come first */
    while (!atomic_load(&j->no_hash) && next_file(j, &at, &path, &title)) {
        if (find_hash(j, path, title, hex)) {
            pthread_mutex_lock(&j->lock);
            for (int i = 0; i < j->catalogue.model_count; i++) {
                if (!strcmp(j->catalogue.models[i].title, title)) {
                    memcpy(j->catalogue.models[i].sha256, hex, sizeof hex);
                }
            }
            pthread_mutex_unlock(&j->lock);
        }
        free(path);
        free(title);
    }
    return NULL;
}

/* Ends the thread. Locked. */
static void stop(struct jobs *j) {
    if (j->hashes) {
        atomic_store(&j->no_hash, true);
        pthread_join(j->hasher, NULL);
        j->hashes = false;
    }
}

void hashes_start(struct jobs *j) {
    pthread_mutex_lock(&j->hash_lock);
    stop(j);
    if (!j->hashed_enough) {
        atomic_store(&j->no_hash, false);
        j->hashes = !pthread_create(&j->hasher, NULL, hash_main, j);
    }
    pthread_mutex_unlock(&j->hash_lock);
}

void hashes_stop(struct jobs *j) {
    pthread_mutex_lock(&j->hash_lock);
    stop(j);
    j->hashed_enough = true;
    pthread_mutex_unlock(&j->hash_lock);
}
