/* Which family with a transformer an adapter's tensor is for: by the name of its layer, and by its width
 * where families share names. Published sizes; those of no family are nobody's. */
#ifndef BALLAST_ADAPTER_WHOSE_H
#define BALLAST_ADAPTER_WHOSE_H

#include <stdint.h>

/* `key`: with dots or underscores, and whatever stands around the layer's name. `inputs`, `outputs`: of the
 * layer, 0 where the tensor does not say. "FLUX.1"; NULL: it does not tell. Static storage. */
const char *bl_adapter_whose(const char *key, int64_t inputs, int64_t outputs);

#endif
