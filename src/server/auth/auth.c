#include "server/auth/auth.h"

#include "server/base/base64.h"

#include <crypt.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#define DIGEST 32
#define REMEMBERED 16 /* pairs: a hash for each of ten polls a second would be too much */
#define LEAST_KEY 16  /* characters */

struct user {
    char *name, *hash;
};

struct auth {
    struct user *users;
    int user_count;
    unsigned char (*keys)[DIGEST];
    int key_count;
    unsigned char salt[16]; /* of the digests below, anew in each process */
    pthread_mutex_t lock;   /* of what follows */
    unsigned char known[REMEMBERED][DIGEST];
    int known_count, next;
};

static bool digest(unsigned char out[DIGEST], const void *salt, size_t salt_bytes, const void *data,
                   size_t bytes) {
    unsigned n = 0;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool good = c && EVP_DigestInit_ex(c, EVP_sha256(), NULL) && EVP_DigestUpdate(c, salt, salt_bytes) &&
                EVP_DigestUpdate(c, data, bytes) && EVP_DigestFinal_ex(c, out, &n) && n == DIGEST;
    EVP_MD_CTX_free(c);
    return good;
}

/* ---- files */

/* With all of its sum, the letters behind the last $: one that was cut off lets nobody in. */
static bool is_strong(const char *hash) {
    static const struct {
        const char *begin;
        size_t sum;
    } methods[] = {{"$y$", 43},  {"$gy$", 43}, {"$7$", 43}, {"$2a$", 53},
                   {"$2b$", 53}, {"$2y$", 53}, {"$6$", 86}, {"$5$", 43}};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (!strncmp(hash, methods[i].begin, strlen(methods[i].begin))) {
            return crypt_checksalt(hash) == CRYPT_SALT_OK && strlen(strrchr(hash, '$') + 1) == methods[i].sum;
        }
    }
    return false;
}

static int add_user(struct auth *a, const char *path, int number, char *line, struct problem *p) {
    char *colon = strchr(line, ':');
    if (!colon || colon == line || !is_strong(colon + 1)) {
        return problem_set(
            p, 400, "auth",
            "%s:%d: a line is NAME:HASH with a hash of crypt(3) ($y$, $2b$, $6$); make one with "
            "`htpasswd -B` or `mkpasswd`",
            path, number);
    }
    struct user *grown = realloc(a->users, (size_t)(a->user_count + 1) * sizeof *grown);
    if (!grown) {
        return problem_set(p, 500, NULL, "out of memory");
    }
    a->users = grown;
    *colon = 0;
    grown[a->user_count] = (struct user){strdup(line), strdup(colon + 1)};
    a->user_count++;
    return 0;
}

static int add_key(struct auth *a, const char *path, int number, char *line, struct problem *p) {
    line += strspn(line, " \t");
    if (strlen(line) < LEAST_KEY) {
        return problem_set(p, 400, "api-keys",
                           "%s:%d: a key has at least %d characters; `openssl rand -hex 24` makes one", path,
                           number, LEAST_KEY);
    }
    unsigned char(*grown)[DIGEST] = realloc(a->keys, (size_t)(a->key_count + 1) * sizeof *grown);
    if (!grown) {
        return problem_set(p, 500, NULL, "out of memory");
    }
    a->keys = grown;
    return digest(grown[a->key_count++], a->salt, sizeof a->salt, line, strlen(line))
               ? 0
               : problem_set(p, 500, NULL, "SHA-256 is not there");
}

static int read_lines(struct auth *a, const char *path, const char *flag,
                      int (*add)(struct auth *, const char *, int, char *, struct problem *),
                      struct problem *p) {
    char line[1024];
    int number = 0, status = 0, found = 0;
    FILE *file = fopen(path, "re");
    if (!file) {
        return problem_set(p, 400, flag, "%s: %s", path, strerror(errno));
    }
    while (!status && fgets(line, sizeof line, file)) {
        size_t n = strcspn(line, "\r\n");
        bool whole = line[n] || feof(file);
        while (n && (line[n - 1] == ' ' || line[n - 1] == '\t')) {
            n--; /* no header could bring it */
        }
        line[n] = 0;
        number++;
        if (!whole) {
            status = problem_set(p, 400, flag, "%s:%d: the line is too long", path, number);
        } else if (n && line[0] != '#') {
            found++;
            status = add(a, path, number, line, p);
        }
    }
    OPENSSL_cleanse(line, sizeof line);
    fclose(file);
    if (!status && !found) {
        status = problem_set(p, 400, flag, "%s: nobody is in there, so nobody could come in", path);
    }
    return status;
}

int auth_open(struct auth **out, const char *passwords, const char *keys, struct problem *p) {
    *out = NULL;
    struct auth *a = calloc(1, sizeof *a);
    if (!a) {
        return problem_set(p, 500, NULL, "out of memory");
    }
    pthread_mutex_init(&a->lock, NULL);
    int status = getrandom(a->salt, sizeof a->salt, 0) == sizeof a->salt
                     ? 0
                     : problem_set(p, 500, NULL, "the system gives no random numbers");
    if (!status && passwords) {
        status = read_lines(a, passwords, "auth", add_user, p);
    }
    if (!status && keys) {
        status = read_lines(a, keys, "api-keys", add_key, p);
    }
    if (status) {
        auth_close(&a);
        return status;
    }
    *out = a;
    return 0;
}

void auth_close(struct auth **auth) {
    struct auth *a = *auth;
    if (a) {
        for (int i = 0; i < a->user_count; i++) {
            free(a->users[i].name);
            free(a->users[i].hash);
        }
        free(a->users);
        free(a->keys);
        pthread_mutex_destroy(&a->lock);
        free(a);
    }
    *auth = NULL;
}

/* ---- checking */

/* Every key is compared, whichever fits. */
static bool is_key(const struct auth *a, const char *text) {
    unsigned char own[DIGEST];
    int found = 0;
    if (!digest(own, a->salt, sizeof a->salt, text, strlen(text))) {
        return false;
    }
    for (int i = 0; i < a->key_count; i++) {
        found |= !CRYPTO_memcmp(own, a->keys[i], DIGEST);
    }
    return found;
}

static bool is_known(struct auth *a, const unsigned char pair[DIGEST]) {
    int found = 0;
    pthread_mutex_lock(&a->lock);
    for (int i = 0; i < a->known_count; i++) {
        found |= !CRYPTO_memcmp(pair, a->known[i], DIGEST);
    }
    pthread_mutex_unlock(&a->lock);
    return found;
}

static void remember(struct auth *a, const unsigned char pair[DIGEST]) {
    pthread_mutex_lock(&a->lock);
    memcpy(a->known[a->next], pair, DIGEST);
    a->next = (a->next + 1) % REMEMBERED;
    a->known_count += a->known_count < REMEMBERED;
    pthread_mutex_unlock(&a->lock);
}

/* Who is not known costs as much time as who is. */
static bool is_password(struct auth *a, const char *name, const char *password) {
    const struct user *user = NULL;
    for (int i = 0; i < a->user_count; i++) {
        user = !strcmp(a->users[i].name, name) ? &a->users[i] : user;
    }
    const char *hash = user ? user->hash : a->users[0].hash;
    struct crypt_data *data = calloc(1, sizeof *data);
    char *made = data ? crypt_r(password, hash, data) : NULL;
    bool same = made && strlen(made) == strlen(hash) && !CRYPTO_memcmp(made, hash, strlen(hash));
    if (data) {
        OPENSSL_cleanse(data, sizeof *data);
        free(data);
    }
    return same && user;
}

static int refuse(struct problem *p) {
    return problem_set(p, 401, NULL, "a name and password, or a key, is needed here");
}

static int check_pair(struct auth *a, char *pair, bool quick, struct problem *p) {
    unsigned char sum[DIGEST];
    char *colon = strchr(pair, ':');
    if (!colon || !digest(sum, a->salt, sizeof a->salt, pair, strlen(pair))) {
        return refuse(p);
    }
    if (is_key(a, colon + 1) || is_known(a, sum)) {
        return 0;
    }
    if (!a->user_count) {
        return refuse(p);
    }
    if (quick) {
        return AUTH_LATER;
    }
    *colon = 0;
    bool good = is_password(a, pair, colon + 1);
    if (good) {
        remember(a, sum);
    }
    return good ? 0 : refuse(p);
}

int auth_check(struct auth *a, const char *authorization, bool quick, struct problem *p) {
    size_t bytes;
    if (authorization && !strncasecmp(authorization, "Bearer ", 7)) {
        const char *key = authorization + 7;
        return is_key(a, key + strspn(key, " ")) ? 0 : refuse(p);
    }
    if (!authorization || strncasecmp(authorization, "Basic ", 6) != 0) {
        return refuse(p);
    }
    char *pair = base64_decode(authorization + 6, strlen(authorization + 6), &bytes);
    if (!pair || strlen(pair) != bytes) {
        free(pair);
        return refuse(p);
    }
    int status = check_pair(a, pair, quick, p);
    OPENSSL_cleanse(pair, bytes);
    free(pair);
    return status;
}
