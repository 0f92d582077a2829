/* What was tuned, as JSON that goes from one machine to others like it. A file of it is hostile until all of
 * it was looked at. */
#ifndef BALLAST_TUNE_ENTRIES_H
#define BALLAST_TUNE_ENTRIES_H

#include "residency/run/tuned.h"

#include <jansson.h>

#define BL_ENTRIES_SCHEMA 1
#define BL_ENTRIES_BYTES (4u << 20) /* of text that is read */

/* All entries: a new object {"ballast_tuned": 1, "entries": [...]}. BL_E_MEMORY. */
int bl_entries_json(json_t **out, const bl_calibration *c, bl_error *err);

/* Reads such a text. Caller frees *out. BL_E_FORMAT names the entry and what is wrong with it; then none is
 * taken. */
int bl_entries_read(bl_tuned **out, int *count, const char *text, bl_error *err);

#endif
