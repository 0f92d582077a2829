/* What a picture is made from, whichever API asked for it. As text it is JSON with the names below: that is
 * what the queue keeps. */
#ifndef BALLAST_SERVER_BASE_REQUEST_H
#define BALLAST_SERVER_BASE_REQUEST_H

#include "server/base/problem.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* REQUEST_FIELD(kind, name, default); kinds: TEXT (NULL: not given), INT, REAL, SEED. The names are those of
 * ballast_generate_options, but for `model` and `vae` (titles) and the start picture, which lies beside. */
#define REQUEST_FIELDS                         \
    REQUEST_FIELD(TEXT, model, NULL)           \
    REQUEST_FIELD(TEXT, vae, NULL)             \
    REQUEST_FIELD(TEXT, prompt, NULL)          \
    REQUEST_FIELD(TEXT, negative_prompt, NULL) \
    REQUEST_FIELD(INT, width, 0)               \
    REQUEST_FIELD(INT, height, 0)              \
    REQUEST_FIELD(INT, steps, 20)              \
    REQUEST_FIELD(TEXT, sampler, NULL)         \
    REQUEST_FIELD(TEXT, schedule, NULL)        \
    REQUEST_FIELD(REAL, cfg, 7)                \
    REQUEST_FIELD(REAL, guidance, -1)          \
    REQUEST_FIELD(REAL, cfg_rescale, 0)        \
    REQUEST_FIELD(REAL, eta, -1)               \
    REQUEST_FIELD(SEED, seed, 0)               \
    REQUEST_FIELD(INT, batch, 1)               \
    REQUEST_FIELD(INT, count, 1)               \
    REQUEST_FIELD(INT, clip_skip, 0)           \
    REQUEST_FIELD(TEXT, rng, NULL)             \
    REQUEST_FIELD(SEED, variation_seed, 0)     \
    REQUEST_FIELD(REAL, variation_strength, 0) \
    REQUEST_FIELD(REAL, strength, 0.75)        \
    REQUEST_FIELD(REAL, hires_scale, 0)        \
    REQUEST_FIELD(INT, hires_steps, 0)         \
    REQUEST_FIELD(REAL, hires_strength, 0.5)   \
    REQUEST_FIELD(TEXT, hires_upscaler, NULL)  \
    REQUEST_FIELD(TEXT, tiled_decode, NULL)    \
    REQUEST_FIELD(TEXT, decode, NULL)          \
    REQUEST_FIELD(TEXT, fit, NULL)             \
    REQUEST_FIELD(TEXT, init_sizes, NULL)      \
    REQUEST_FIELD(INT, ensd, 0)                \
    REQUEST_FIELD(INT, pad_conds, 0)           \
    REQUEST_FIELD(TEXT, missing_adapters, NULL)

#define REQUEST_TYPE_TEXT char *
#define REQUEST_TYPE_INT int
#define REQUEST_TYPE_REAL double
#define REQUEST_TYPE_SEED uint64_t

struct picture_request {
#define REQUEST_FIELD(kind, name, fallback) REQUEST_TYPE_##kind name;
    REQUEST_FIELDS
#undef REQUEST_FIELD
    /* Files of pictures to start from, one behind the other, or NULL; not part of the JSON. `init_sizes` has
     * the bytes of each, "1200,3400"; NULL: it is one. Each has `count` pictures, taking turns. */
    char *init;
    size_t init_bytes;
};

/* How many pictures to start from; 0: none. */
int picture_init_count(const struct picture_request *r);
/* File number `n` of them, borrowed; NULL: there is none, or the sizes are not right. */
const char *picture_init_at(const struct picture_request *r, int n, size_t *bytes);
/* Puts a file behind those that there are. False: no memory. */
bool picture_init_add(struct picture_request *r, const char *file, size_t bytes);

void picture_request_init(struct picture_request *r);
void picture_request_free(struct picture_request *r);

/* NULL: no memory, or a text that is not UTF-8. */
json_t *picture_request_json(const struct picture_request *r);

/* What is not in the object keeps its default. 0, or the status 500: the object is not what we wrote. *r is
 * to be freed either way. */
int picture_request_read(struct picture_request *r, const json_t *object, struct problem *p);

/* Replaces a text; false: no memory. `text` may be NULL. */
bool picture_text_set(char **at, const char *text);

/* A seed as JSON: a number, or past 2^63 - 1, where JSON's readers stop, a string of digits. NULL: no memory.
 */
json_t *seed_json(uint64_t seed);
/* False: `value` is no seed. */
bool seed_read(uint64_t *seed, const json_t *value);

#endif
