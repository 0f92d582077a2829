#include "checkpoint/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE ((size_t)4 << 20)

static int hash_open_file(char out[BL_HASH_TEXT], int fd, const char *path, const atomic_bool *cancel,
                          bl_error *err) {
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    unsigned char *piece = malloc(PIECE), digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    int rc = 0;
    if (!context || !piece || !EVP_DigestInit_ex(context, EVP_sha256(), NULL)) {
        rc = bl_fail_memory(err, "hashing a file", PIECE);
        goto done;
    }
    for (;;) {
        if (cancel && atomic_load(cancel)) {
            rc = bl_fail(err, BL_E_CANCELLED, "stopped while hashing %.400s", path);
            goto done;
        }
        ssize_t got = read(fd, piece, PIECE);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            rc = bl_fail(err, BL_E_IO, "cannot read %.400s: %s", path, strerror(errno));
            goto done;
        }
        if (got == 0) {
            break;
        }
        EVP_DigestUpdate(context, piece, (size_t)got);
    }
    if (!EVP_DigestFinal_ex(context, digest, &length) || length != 32) {
        rc = bl_fail(err, BL_E_INTERNAL, "libcrypto cannot compute SHA-256");
        goto done;
    }
    for (unsigned i = 0; i < 32; i++) {
        snprintf(out + (size_t)2 * i, 3, "%02x", digest[i]);
    }
done:
    free(piece);
    EVP_MD_CTX_free(context);
    return rc;
}

static int open_file(int *fd, struct stat *s, const char *path, bl_error *err) {
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) {
        return bl_fail_open(err, path, errno);
    }
    if (fstat(*fd, s) || !S_ISREG(s->st_mode)) {
        close(*fd);
        return bl_fail(err, BL_E_IO, "%.400s is not a file", path);
    }
    return 0;
}

int bl_file_hash(char out[BL_HASH_TEXT], const char *path, const atomic_bool *cancel, bl_error *err) {
    int fd;
    struct stat s;
    int rc = open_file(&fd, &s, path, err);
    if (!rc) {
        rc = hash_open_file(out, fd, path, cancel, err);
        close(fd);
    }
    return rc;
}

/* ---- cache */

typedef struct entry {
    char *path;
    struct stat file;
    char hash[BL_HASH_TEXT];
} entry;

struct bl_hash_cache {
    pthread_mutex_t lock;
    entry *entries;
    int count;
};

int bl_hash_cache_new(bl_hash_cache **out, bl_error *err) {
    *out = NULL;
    bl_hash_cache *c = calloc(1, sizeof *c);
    if (!c || pthread_mutex_init(&c->lock, NULL)) {
        free(c);
        return bl_fail_memory(err, "a table of hashes", sizeof *c);
    }
    *out = c;
    return 0;
}

void bl_hash_cache_free(bl_hash_cache **cache) {
    bl_hash_cache *c = *cache;
    if (!c) {
        return;
    }
    for (int i = 0; i < c->count; i++) {
        free(c->entries[i].path);
    }
    free(c->entries);
    pthread_mutex_destroy(&c->lock);
    free(c);
    *cache = NULL;
}

static bool same_file(const struct stat *a, const struct stat *b) {
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* With the lock held. */
static entry *find(bl_hash_cache *c, const char *path) {
    for (int i = 0; i < c->count; i++) {
        if (strcmp(c->entries[i].path, path) == 0) {
            return &c->entries[i];
        }
    }
    return NULL;
}

/* With the lock held. Without memory it is just not remembered. */
static void remember(bl_hash_cache *c, const char *path, const struct stat *s, const char *hash) {
    entry *e = find(c, path);
    if (!e) {
        entry *more = realloc(c->entries, (size_t)(c->count + 1) * sizeof *more);
        if (!more) {
            return;
        }
        c->entries = more;
        e = &more[c->count];
        e->path = strdup(path);
        if (!e->path) {
            return;
        }
        c->count++;
    }
    e->file = *s;
    memcpy(e->hash, hash, BL_HASH_TEXT);
}

int bl_hash_cache_get(char out[BL_HASH_TEXT], bl_hash_cache *cache, const char *path,
                      const atomic_bool *cancel, bl_error *err) {
    int fd;
    struct stat before, after;
    int rc = open_file(&fd, &before, path, err);
    if (rc) {
        return rc;
    }
    pthread_mutex_lock(&cache->lock);
    const entry *e = find(cache, path);
    bool known = e && same_file(&e->file, &before);
    if (known) {
        memcpy(out, e->hash, BL_HASH_TEXT);
    }
    pthread_mutex_unlock(&cache->lock);
    if (!known) {
        rc = hash_open_file(out, fd, path, cancel, err);
        if (!rc && fstat(fd, &after) == 0 && same_file(&before, &after)) {
            pthread_mutex_lock(&cache->lock);
            remember(cache, path, &before, out);
            pthread_mutex_unlock(&cache->lock);
        }
    }
    close(fd);
    return rc;
}
