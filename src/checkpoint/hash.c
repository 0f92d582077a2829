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
