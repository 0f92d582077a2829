/* Texts of JSON when memory runs out inside jansson: what it reads it then mostly calls damaged, and what it
 * writes may lack pieces without a word. */
#ifndef BALLAST_CORE_JSON_TEXT_H
#define BALLAST_CORE_JSON_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Is it one JSON object or list? Needs no memory. Names may be there twice, numbers be of any size, and
 * whether strings are UTF-8 is not looked at: of these jansson says what they are. */
bool bl_json_well_formed(const char *text, size_t n);

/* Did json_loadb, which failed with `why` (set to {0} before), lack memory for this text? */
bool bl_json_lacked_memory(const json_error_t *why, const char *text, size_t n);

/* The value as text, whole; NULL: no memory. `flags`: jansson's. Caller frees. */
char *bl_json_dump(const json_t *value, size_t flags);

#endif
