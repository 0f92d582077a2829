/* The modules that a device knows, by number, and where each of their blocks lies, in the region and in the
 * host store. */
#ifndef BALLAST_RESIDENCY_TENANTS_H
#define BALLAST_RESIDENCY_TENANTS_H

#include "device/device.h"
#include "residency/problem/problem.h"

/* One module; without a device module its number is free. */
typedef struct bl_tenant {
    bl_device_module *module;   /* borrowed */
    const bl_block_cost *costs; /* [block_count], borrowed */
    uint64_t *at;               /* [block_count] offset in the region, or BL_NOWHERE */
    uint64_t *stored;           /* [block_count] offset in the host store, or BL_NOWHERE */
    bool *came;                 /* [block_count] it was in the region at some time, as it is */
    int block_count;
    uint64_t alignment; /* of the device's region */
} bl_tenant;

typedef struct bl_tenants {
    bl_tenant *items; /* [count] */
    int count;
    uint64_t used_bytes; /* of all blocks that lie somewhere */
} bl_tenants;

/* Takes in a module of `blocks` blocks, none of them on the device. *id: the smallest number that is free. */
int bl_tenants_add(int *id, bl_tenants *t, bl_device *d, bl_device_module *module, int blocks, bl_error *err);
/* Forgets the module and its places; its number is free. */
void bl_tenants_remove(bl_tenants *t, int id);
void bl_tenants_free(bl_tenants *t);

/* NULL when the number is free. Borrowed until the next add. */
bl_tenant *bl_tenants_find(const bl_tenants *t, int id);

/* Room that a block takes in the region. */
uint64_t bl_tenant_room(const bl_tenant *x, int block);
/* Whether any of its blocks lies somewhere, in the region or in the host store. */
bool bl_tenant_holds(const bl_tenant *x);

/* A block lies here now. */
void bl_tenants_put(bl_tenants *t, bl_tenant *x, int block, uint64_t offset);
/* A block lies nowhere now, wherever it lay. */
void bl_tenants_drop(bl_tenants *t, bl_tenant *x, int block);
/* The same for all of its blocks. */
void bl_tenants_drop_all(bl_tenants *t, bl_tenant *x);

/* Nothing of it, or of any, is in the host store any more. */
void bl_tenant_unstore(bl_tenant *x);
void bl_tenants_unstore(bl_tenants *t);

/* BL_E_ARGUMENT unless every module of the problem is here, with the bytes that the device says. */
int bl_tenants_check(const bl_tenants *t, const bl_problem *p, bl_error *err);

#endif
