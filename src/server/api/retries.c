#include "server/api/internal.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool body_digest(const struct call *c, const char *who, char out[65]) {
    unsigned char sum[32];
    unsigned n = 0;
    who = who ? who : "";
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool good = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) &&
                EVP_DigestUpdate(md, c->x->path, strlen(c->x->path) + 1) &&
                EVP_DigestUpdate(md, who, strlen(who) + 1) &&
                EVP_DigestUpdate(md, c->x->body, c->x->body_bytes) && EVP_DigestFinal_ex(md, sum, &n) &&
                n == 32;
    EVP_MD_CTX_free(md);
    for (size_t i = 0; good && i < sizeof sum; i++) {
        snprintf(out + 2 * i, 3, "%02x", sum[i]);
    }
    return good;
}

bool join_retry(const struct call *c, char id[JOB_ID]) {
    const char *count = exchange_header(c->x, "x-stainless-retry-count");
    char sum[65];
    bool found = false;
    if (!count || strtol(count, NULL, 10) < 1 ||
        !body_digest(c, exchange_header(c->x, "Authorization"), sum)) {
        return false;
    }
    pthread_mutex_lock(&c->api->lock);
    for (int i = 0; i < BODIES_REMEMBERED && !found; i++) {
        const struct remembered *r = &c->api->bodies[i];
        if (r->job[0] && !memcmp(r->digest, sum, sizeof sum)) {
            memcpy(id, r->job, JOB_ID);
            found = true;
        }
    }
    pthread_mutex_unlock(&c->api->lock);
    if (found) {
        /* What was cancelled, because its caller seemed to be gone, is made after all. */
        json_t *job = NULL;
        const char *state = NULL;
        if (!c->api->service.job(c->api->service.self, id, &job, NULL)) {
            state = json_string_value(json_object_get(job, "state"));
        }
        found = state && strcmp(state, "cancelled") != 0 && strcmp(state, "failed") != 0;
        json_decref(job);
    }
    return found;
}

void remember_body(const struct call *c, const char *id) {
    char sum[65];
    if (!body_digest(c, exchange_header(c->x, "Authorization"), sum)) {
        return;
    }
    pthread_mutex_lock(&c->api->lock);
    struct remembered *r = &c->api->bodies[c->api->next_body];
    c->api->next_body = (c->api->next_body + 1) % BODIES_REMEMBERED;
    memcpy(r->digest, sum, sizeof sum);
    memcpy(r->job, id, JOB_ID);
    pthread_mutex_unlock(&c->api->lock);
}
