/* Why a request was refused, on its way from wherever that was found to the answer. */
#ifndef BALLAST_SERVER_BASE_PROBLEM_H
#define BALLAST_SERVER_BASE_PROBLEM_H

#define PROBLEM_FIELD 64

struct problem {
    int status;                /* of HTTP: 422, 404, 429, 507, ... */
    char field[PROBLEM_FIELD]; /* the field of the request that it is about; "": none */
    char text[768];            /* one line: what, where, what to do */
    int retry_after;           /* seconds; 0: not said */
};

/* Puts '?' for each byte that is no part of a UTF-8 character: JSON holds nothing else. */
void text_mend(char *text);

/* Fills *p, of which NULL is allowed, and returns the status, which is never 0. `field` may be NULL. */
int problem_set(struct problem *p, int status, const char *field, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
