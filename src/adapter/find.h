/* Adapters by name, in folders. */
#ifndef BALLAST_ADAPTER_FIND_H
#define BALLAST_ADAPTER_FIND_H

#include "core/error.h"

#include <stdbool.h>

/* One file that was found. */
typedef struct bl_found {
    char *path, *name; /* the name is the file's, without folder and suffix */
} bl_found;

typedef struct bl_found_list {
    bl_found *items; /* [count] sorted by name, then path */
    int count;
} bl_found_list;

/* All .safetensors files in the folders, which ':' separates, and in folders within them; with `pickles` .pt
 * and .bin, too. A folder that is not there holds none. *out: bl_found_clear. */
int bl_find_all(bl_found_list *out, const char *folders, bool pickles, bl_error *err);
void bl_found_clear(bl_found_list *list);

/* What the file's metadata calls it (ss_output_name); NULL: nothing. Caller frees. */
char *bl_found_alias(const bl_found *x);

/* The path of the one whose name, or whose metadata's ss_output_name, is this; of several the first by path.
 * BL_E_NOT_FOUND names the nearest ones. Caller frees *path. `what`: "adapter". */
int bl_find_named(char **path, const char *folders, const char *name, const char *what, bl_error *err);

#endif
