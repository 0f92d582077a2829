/* Adapters as programs list them. */
#include "api/api.h"

#include <stdlib.h>

int bl_take_adapters(ballast_adapter **own, ballast_generate_options *o, bl_error *err) {
    const ballast_adapter *given = o->adapters;
    int result = 0;
    *own = NULL;
    if (!o->adapter_count) {
        return 0;
    }
    if (!given || o->adapter_count > BL_MOST_ADAPTERS) {
        return bl_fail(
            err, BL_E_ARGUMENT,
            "adapters: %zu of them; at most %d, and where there are some, `adapters` is their list",
            o->adapter_count, BL_MOST_ADAPTERS);
    }
    ballast_adapter *list = calloc(o->adapter_count, sizeof *list);
    if (!list) {
        return bl_fail_memory(err, "the adapters", o->adapter_count * sizeof *list);
    }
    for (size_t i = 0; i < o->adapter_count && !result; i++) {
        const ballast_adapter *x = (const void *)((const char *)given + i * given->struct_size);
        result = bl_take_adapter(&list[i], x, err);
        if (!result && (x->struct_size != given->struct_size || !list[i].path || !*list[i].path)) {
            result = bl_fail(err, BL_E_ARGUMENT,
                             "adapters[%zu]: no path, or another struct_size than adapters[0]", i);
        }
    }
    if (result) {
        free(list);
        return result;
    }
    o->adapters = *own = list;
    return 0;
}
