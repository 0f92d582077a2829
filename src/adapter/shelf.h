/* The adapters of a model that are open: those that came lately stay, so that the next picture need not read
 * them again. A file that has changed is another one. */
#ifndef BALLAST_ADAPTER_SHELF_H
#define BALLAST_ADAPTER_SHELF_H

#include "adapter/adapter.h"

typedef struct bl_shelf bl_shelf;

/* `arch` is borrowed and must outlive it. Caller owns *out. */
int bl_shelf_new(bl_shelf **out, const bl_architecture *arch, bl_error *err);
/* After everybody has dropped what came from it. */
void bl_shelf_free(bl_shelf **shelf);

/* The file of this path, opened if it is not. Caller: bl_adapter_drop. One thread at a time. */
int bl_shelf_take(bl_adapter **out, bl_shelf *shelf, const char *path, bl_error *err);

#endif
