/* The cache of encodings: what the text encoders made of chunks of text, by all that it depends on. What was
 * used longest ago goes first. A context has one for all its models.
 *
 * It never fails: what there is no memory for is not kept. One thread at a time. */
#ifndef BALLAST_PIPELINE_ENCODINGS_H
#define BALLAST_PIPELINE_ENCODINGS_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BL_ENCODING_BYTES (1u << 20) /* that the cache may take for each of the entries that it may have */

typedef struct bl_encodings bl_encodings;

/* An encoding: the model's number (bl_modules_serial), and what else it depends on, as bytes that are
 * compared. */
typedef struct bl_encoding_key {
    uint64_t model;
    size_t bytes;
    void *data; /* [bytes] */
} bl_encoding_key;

/* Room for `most` entries, and for most * BL_ENCODING_BYTES bytes, keys included. Caller owns *out. */
int bl_encodings_new(bl_encodings **out, size_t most, bl_error *err);
void bl_encodings_free(bl_encodings **e);

/* Whether it is there. */
bool bl_encodings_have(const bl_encodings *e, const bl_encoding_key *key);
/* Copies it to values [floats]. False: it is not there. */
bool bl_encodings_take(bl_encodings *e, const bl_encoding_key *key, float *values, size_t floats);
/* Keeps a copy of values [floats], if it is not there. */
void bl_encodings_put(bl_encodings *e, const bl_encoding_key *key, const float *values, size_t floats);
/* Nobody asks for this model's any more. */
void bl_encodings_forget(bl_encodings *e, uint64_t model);

/* What it holds. */
typedef struct bl_encodings_size {
    size_t entries, most_entries;
    uint64_t bytes, most_bytes;
} bl_encodings_size;
bl_encodings_size bl_encodings_size_of(const bl_encodings *e);

#endif
