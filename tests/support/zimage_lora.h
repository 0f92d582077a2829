/* LoRA files for the Z-Image of zimage_files.h: the same numbers under the names of whoever. What goes wrong
 * in here fails the running test. */
#ifndef BALLAST_TESTS_SUPPORT_ZIMAGE_LORA_H
#define BALLAST_TESTS_SUPPORT_ZIMAGE_LORA_H

#include <stdbool.h>
#include <stdint.h>

#define BL_TEST_LORA_RANK 4
#define BL_TEST_LORA_ALPHA 2.0f

typedef struct bl_test_lora_form {
    const char *name, *prefix;
    bool flat;    /* '_' for '.' */
    bool authors; /* queries, keys and values in one, and what else its authors call otherwise */
    const char *down, *up;
} bl_test_lora_form;

#define BL_TEST_LORA_FORMS 8
extern const bl_test_lora_form bl_test_lora_forms[BL_TEST_LORA_FORMS];

/* Writes to `path`, changes of all linear layers of the transformer's three blocks, and of one bias. */
void bl_test_zimage_lora(const char *path, const bl_test_lora_form *form);

/* What the file changes of one layer, by diffusers' name: whole in F64 at strength 1, [rows, columns] (of a
 * bias [rows]). Caller: free. NULL: nothing. */
double *bl_test_zimage_delta(const char *layer, bool bias, int64_t *count);

#endif
