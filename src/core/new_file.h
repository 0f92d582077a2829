/* Files that appear complete or not at all: written to a temporary name in the same folder, then renamed. */
#ifndef BALLAST_CORE_NEW_FILE_H
#define BALLAST_CORE_NEW_FILE_H

#include "core/error.h"

#include <stdbool.h>
#include <stdio.h>

typedef struct bl_new_file {
    FILE *f;          /* to write to */
    char *temporary;  /* its name until it is complete */
    const char *path; /* borrowed: the name it will have */
} bl_new_file;

/* Opens the file under its temporary name. Errors: BL_E_ARGUMENT where `path` is something that a file must
 * not take the place of (a device, a folder), BL_E_IO. After success bl_new_file_end must follow. */
int bl_new_file_begin(bl_new_file *out, const char *path, bl_error *err);

/* Gives the file its name if `failed`, what writing to it came to, is 0 and all of it is on its way to the
 * disk; else removes it. Without `overwrite` a file that is there, or that appeared meanwhile, stays as it
 * is. Returns `failed`, or BL_E_ARGUMENT (exists already), BL_E_IO. */
int bl_new_file_end(bl_new_file *file, int failed, bool overwrite, bl_error *err);

#endif
