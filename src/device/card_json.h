/* A card described in JSON, a file or a text: what the readers of both kinds of cards share. `origin` names
 * it in messages. */
#ifndef BALLAST_DEVICE_CARD_JSON_H
#define BALLAST_DEVICE_CARD_JSON_H

#include "core/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* The text of a card's file of at most `most` bytes. *out: [*n] and a zero, freed by the caller. Errors:
 * BL_E_NOT_FOUND, BL_E_FORMAT for what is no file or larger, BL_E_IO, BL_E_MEMORY. */
int bl_card_read(char **out, size_t *n, const char *path, size_t most, bl_error *err);

/* *out: the object that it holds, whose keys are all among known[count]: one that is not is a mistyped one.
 * Owner of *out: the caller, json_decref. Errors: BL_E_FORMAT, BL_E_MEMORY. */
int bl_card_parse(json_t **out, const char *text, size_t n, const char *const *known, int count,
                  const char *origin, bl_error *err);

/* A finite number from `least` on, below 2^53. Left alone where it is missing and need not be there. */
int bl_card_number(double *out, const json_t *o, const char *key, double least, bool needed,
                   const char *origin, bl_error *err);

/* "copy_slowdown", which both kinds of cards may have: from 0 to BL_CARD_SLOWDOWN. */
#define BL_CARD_SLOWDOWN 10.0
int bl_card_slowdown(double *out, const json_t *o, const char *origin, bl_error *err);

/* Field `key` is not what it must be: BL_E_FORMAT. */
int bl_card_refuse(const char *origin, const char *key, const char *what, bl_error *err);

#endif
