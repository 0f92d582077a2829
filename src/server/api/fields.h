/* The fields of a request's body, as rows. Reading is lenient in form, as the servers are that clients were
 * written for: null is the default, "1.0" and 20.0 are numbers, unknown keys are passed over. It is strict
 * where a value cannot be read, or would be silently passed over though it changes the picture. */
#ifndef BALLAST_SERVER_API_FIELDS_H
#define BALLAST_SERVER_API_FIELDS_H

#include "server/base/problem.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum field_kind {
    FIELD_TEXT,   /* const char *, borrowed from the body; at most `most` bytes, and `least` at the fewest */
    FIELD_INT,    /* int, least .. most */
    FIELD_NUMBER, /* double, least .. most */
    FIELD_SWITCH, /* bool */
    FIELD_SEED,   /* struct field_seed */
    FIELD_LIST,   /* json_t *, an array, borrowed; NULL: none */
    FIELD_OBJECT, /* json_t *, an object, borrowed; NULL: none */
    FIELD_PASSED, /* read by clients only, or without meaning here */
    FIELD_WARNED, /* done without: said in `warnings` where it is set */
    FIELD_REFUSED /* not done yet: 422 where it is set to something that counts */
};

struct field_seed {
    bool random;
    uint64_t value;
};

struct field {
    const char *name; /* NULL ends a table */
    enum field_kind kind;
    const char *fallback; /* JSON; what it is when it is not given. Of FIELD_REFUSED and FIELD_WARNED: the
                             value that changes nothing */
    double least, most;
    size_t at;        /* offset in the struct that is filled */
    const char *help; /* a sentence */
};

/* Fills `out` from an object, whose values it may bring into their right type. `warnings` (an array, may be
 * NULL) gets a text for each field that is done without. 0, or 422 with *p. */
int fields_read(void *out, const struct field *table, json_t *object, json_t *warnings, struct problem *p);

/* The object of all fields: what was given, else the defaults. `object` has been read. NULL: no memory. */
json_t *fields_echo(const struct field *table, const json_t *object);

/* A JSON Schema of such a body. NULL: no memory. */
json_t *fields_schema(const struct field *table);

/* Is a value one that asks for nothing: null, false, "", "None", 0 or less, [], {}? */
bool field_is_neutral(const json_t *value);

/* A number from a number, text ("1.0"), or switch. */
bool field_number(const json_t *value, double *out);

#endif
