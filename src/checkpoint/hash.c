#include "checkpoint/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE ((size_t)4 << 20)

struct bl_hash {
    int fd;
    EVP_MD_CTX *context;
    unsigned char *piece; /* [PIECE] */
    char *path;
};

static int open_file(int *fd, const char *path, bl_error *err) {
    struct stat s;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) {
        return bl_fail_open(err, path, errno);
    }
    if (fstat(*fd, &s) || !S_ISREG(s.st_mode)) {
        close(*fd);
        *fd = -1;
        return bl_fail(err, BL_E_IO, "%.400s is not a file", path);
    }
    return 0;
}

int bl_hash_open(bl_hash **out, const char *path, bl_error *err) {
    *out = NULL;
    bl_hash *h = calloc(1, sizeof *h);
    if (!h) {
        return bl_fail_memory(err, "hashing a file", sizeof *h);
    }
    int rc = open_file(&h->fd, path, err);
    if (rc) {
        free(h);
        return rc;
    }
    h->context = EVP_MD_CTX_new();
    h->piece = malloc(PIECE);
    h->path = strdup(path);
    if (!h->context || !h->piece || !h->path || !EVP_DigestInit_ex(h->context, EVP_sha256(), NULL)) {
        bl_hash_close(&h);
        return bl_fail_memory(err, "hashing a file", PIECE);
    }
    *out = h;
    return 0;
}

static int write_text(char text[BL_HASH_TEXT], bl_hash *h, bl_error *err) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    if (!EVP_DigestFinal_ex(h->context, digest, &length) || length != 32) {
        return bl_fail(err, BL_E_INTERNAL, "libcrypto cannot compute SHA-256");
    }
    for (unsigned i = 0; i < 32; i++) {
        snprintf(text + (size_t)2 * i, 3, "%02x", digest[i]);
    }
    return 0;
}

int bl_hash_go_on(char text[BL_HASH_TEXT], bl_hash *h, bl_hash_stop *stop, void *payload, bl_error *err) {
    for (;;) {
        if (stop && stop(payload)) {
            return bl_fail(err, BL_E_CANCELLED, "stopped while hashing %.400s", h->path);
        }
        ssize_t got = read(h->fd, h->piece, PIECE);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return bl_fail(err, BL_E_IO, "cannot read %.400s: %s", h->path, strerror(errno));
        }
        if (got == 0) {
            return write_text(text, h, err);
        }
        EVP_DigestUpdate(h->context, h->piece, (size_t)got);
    }
}

void bl_hash_close(bl_hash **hp) {
    bl_hash *h = *hp;
    if (h) {
        if (h->fd >= 0) {
            close(h->fd);
        }
        EVP_MD_CTX_free(h->context);
        free(h->piece);
        free(h->path);
        free(h);
        *hp = NULL;
    }
}
