/* multipart/form-data (RFC 7578), of a body that is there as a whole. */
#ifndef BALLAST_SERVER_API_MULTIPART_H
#define BALLAST_SERVER_API_MULTIPART_H

#include "server/base/problem.h"

#include <stdbool.h>
#include <stddef.h>

#define MULTIPART_MOST 64 /* parts */

struct part {
    char name[64];
    bool file;        /* what it was called elsewhere is of no use here */
    const char *data; /* [bytes], in the body */
    size_t bytes;
};

/* Splits a body. *count parts are filled. 0, or 422 with *p. */
int multipart_read(struct part parts[MULTIPART_MOST], int *count, const char *content_type, const char *body,
                   size_t bytes, struct problem *p);

#endif
