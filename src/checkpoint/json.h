/* JSON as those write it whose files we read: Python's json module, and the reference implementation of
 * safetensors. Both know a little more than jansson. */
#ifndef BALLAST_CHECKPOINT_JSON_H
#define BALLAST_CHECKPOINT_JSON_H

#include "core/error.h"

#include <jansson.h>
#include <stddef.h>

/* Parses `n` bytes, which it overwrites, as Python's json.loads does. NaN, Infinity and -Infinity are values,
 * and so are numbers that a double or 64 bits do not hold. jansson has no such numbers: a whole number of
 * more than 64 bits becomes a real one, the others the strings "NaN", "Infinity" and "-Infinity", so that
 * whoever needs a number sees that there is none. Half a surrogate pair ("\ud800") reads as U+FFFD, "\u0000"
 * as U+2400. The top must be an object. `path`: for messages. Errors: BL_E_FORMAT with path and line;
 * BL_E_MEMORY. The caller owns *out. */
int bl_json_parse(json_t **out, char *text, size_t n, const char *path, bl_error *err);

/* Reads a JSON file whose top is an object. No such file: *out is NULL and all is well. Errors: those of
 * bl_json_parse, BL_E_IO. The caller owns *out. */
int bl_json_load(json_t **out, const char *path, bl_error *err);

/* Writes "\u2400" (the picture of a NUL) for each escaped NUL in the strings of a JSON text, in place: our
 * strings end at a NUL, and jansson has no keys that hold one. */
void bl_json_show_nuls(char *text, size_t n);

#endif
