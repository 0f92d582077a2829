#include "residency/run/tenants.h"

#include <stdlib.h>

int bl_tenants_add(int *id, bl_tenants *t, bl_device *d, bl_device_module *module, int blocks,
                   bl_error *err) {
    int number = 0;
    while (number < t->count && t->items[number].module) {
        number++;
    }
    if (number == t->count) {
        bl_tenant *more = realloc(t->items, (size_t)(number + 1) * sizeof *more);
        if (!more) {
            return bl_fail_memory(err, "the modules on the device", (size_t)(number + 1) * sizeof *more);
        }
        t->items = more;
        t->items[t->count++] = (bl_tenant){0};
    }
    bl_tenant x = {.module = module,
                   .costs = bl_device_module_costs(d, module),
                   .at = malloc((size_t)blocks * sizeof *x.at),
                   .stored = malloc((size_t)blocks * sizeof *x.stored),
                   .came = calloc((size_t)blocks + 1, sizeof *x.came),
                   .block_count = blocks,
                   .alignment = bl_device_caps_of(d).alignment};
    if (!x.at || !x.stored || !x.came) {
        free(x.at);
        free(x.stored);
        free(x.came);
        return bl_fail_memory(err, "a module's addresses", 2 * (size_t)blocks * sizeof *x.at);
    }
    for (int b = 0; b < blocks; b++) {
        x.at[b] = x.stored[b] = BL_NOWHERE;
    }
    t->items[number] = x;
    *id = number;
    return 0;
}

void bl_tenants_remove(bl_tenants *t, int id) {
    bl_tenant *x = bl_tenants_find(t, id);
    if (x) {
        bl_tenants_drop_all(t, x);
        free(x->at);
        free(x->stored);
        free(x->came);
        *x = (bl_tenant){0};
    }
}

void bl_tenants_free(bl_tenants *t) {
    for (int i = 0; i < t->count; i++) {
        free(t->items[i].at);
        free(t->items[i].stored);
        free(t->items[i].came);
    }
    free(t->items);
    *t = (bl_tenants){0};
}

bl_tenant *bl_tenants_find(const bl_tenants *t, int id) {
    return id >= 0 && id < t->count && t->items[id].module ? &t->items[id] : NULL;
}

uint64_t bl_tenant_room(const bl_tenant *x, int block) {
    return bl_problem_room(x->costs[block].packed_bytes, x->alignment);
}

bool bl_tenant_holds(const bl_tenant *x) {
    for (int b = 0; b < x->block_count; b++) {
        if (x->at[b] != BL_NOWHERE || x->stored[b] != BL_NOWHERE) {
            return true;
        }
    }
    return false;
}

void bl_tenants_put(bl_tenants *t, bl_tenant *x, int block, uint64_t offset) {
    x->at[block] = offset;
    x->came[block] = true;
    t->used_bytes += bl_tenant_room(x, block);
}

void bl_tenants_drop(bl_tenants *t, bl_tenant *x, int block) {
    if (x->at[block] != BL_NOWHERE) {
        t->used_bytes -= bl_tenant_room(x, block);
        x->at[block] = BL_NOWHERE;
    }
}

void bl_tenants_drop_all(bl_tenants *t, bl_tenant *x) {
    for (int b = 0; b < x->block_count; b++) {
        bl_tenants_drop(t, x, b);
    }
}

void bl_tenant_unstore(bl_tenant *x) {
    for (int b = 0; b < x->block_count; b++) {
        x->stored[b] = BL_NOWHERE;
    }
}

void bl_tenants_unstore(bl_tenants *t) {
    for (int i = 0; i < t->count; i++) {
        bl_tenant_unstore(&t->items[i]);
    }
}

int bl_tenants_check(const bl_tenants *t, const bl_problem *p, bl_error *err) {
    for (int m = 0; m < p->module_count; m++) {
        const bl_problem_module *a = &p->modules[m];
        const bl_tenant *x = bl_tenants_find(t, a->id);
        if (!x) {
            return bl_fail(err, BL_E_ARGUMENT, "module %s is number %d, which the executor does not have",
                           a->name, a->id);
        }
        if (x->block_count != a->block_count) {
            return bl_fail(err, BL_E_ARGUMENT, "module %s has %d blocks and was planned with %d", a->name,
                           x->block_count, a->block_count);
        }
        for (int b = 0; b < a->block_count; b++) {
            if (bl_tenant_room(x, b) != a->blocks[b].bytes) {
                return bl_fail(err, BL_E_ARGUMENT,
                               "module %s, block %d: planned with %llu bytes, the device says %llu", a->name,
                               b, (unsigned long long)a->blocks[b].bytes,
                               (unsigned long long)bl_tenant_room(x, b));
            }
        }
    }
    return 0;
}
