/* Asking for memory before a library takes it that does not bear to be refused. */
#ifndef BALLAST_CORE_ASK_H
#define BALLAST_CORE_ASK_H

#include "core/error.h"

#include <stddef.h>

/* Could so many bytes be had now? Takes and gives them back; nothing is touched. BL_E_MEMORY. `for_what`:
 * "oneDNN's kernels". */
int bl_ask_memory(size_t bytes, const char *for_what, bl_error *err);

#endif
