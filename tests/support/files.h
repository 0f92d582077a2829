/* Files that tests make: folders that go away again, safetensors files that are wrong on purpose, copies of
 * checkpoints with some tensors changed. What goes wrong in here fails the running test. */
#ifndef BALLAST_TESTS_SUPPORT_FILES_H
#define BALLAST_TESTS_SUPPORT_FILES_H

#include "support/goldens.h"

#include <stdbool.h>

/* Makes a new, empty folder. */
void bl_test_folder(char path[BL_TEST_PATH]);
/* Removes it with all that is in it. */
void bl_test_folder_remove(const char *path);

/* path = folder/name, whose folders are made. */
void bl_test_join(char path[BL_TEST_PATH], const char *folder, const char *name);

/* Writes a file. */
void bl_test_write(const char *path, const void *data, size_t bytes);

/* Writes a safetensors file of this header (as it is: nothing is checked) and that many zero bytes of data,
 * which take no place on the disk. */
void bl_test_write_header(const char *path, const char *header, uint64_t data_bytes);

/* Decides about one tensor of a copy: may change *t (its shape: zeros follow then; data: values of the
 * function's own, which stay its own) and its name, in the 256 bytes at `name`. False leaves it out. */
typedef bool bl_rewrite_fn(void *context, char *name, bl_tensor_data *t);

/* Copies a safetensors file, tensor by tensor. `metadata`: as in bl_safetensors_write. */
void bl_test_rewrite(const char *to, const char *from, bl_rewrite_fn *fn, void *context,
                     const char *const *metadata, int metadata_count);

#endif
