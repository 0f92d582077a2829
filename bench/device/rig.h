/* One module, and one of its graphs, on a device: weights brought in as the device wants it, passes timed by
 * its own events. */
#ifndef BALLAST_BENCH_DEVICE_RIG_H
#define BALLAST_BENCH_DEVICE_RIG_H

#include "device/device.h"
#include "kernels/made_up.h"

#include <stdlib.h>

typedef struct bench {
    bl_device *d;
    const bl_graph *g;
    bl_device_module *m;
    bl_executable *x;
    bl_region *region;
    bl_host *store;            /* NULL where the region is host memory */
    uint64_t *offset, *stored; /* [block_count] */
    bl_event **events;         /* [block_count + 1] */
    uint64_t weight_bytes, arena_bytes;
    double pin_seconds, load_seconds, copy_seconds; /* of all weights */
} bench;

void bench_close(bench *b);

/* Prepares the graph and brings all weights in. `twice`: the region has room for them once more; `pinned`:
 * the store. */
int bench_open(bench *b, bl_device *d, const bl_graph *g, bool twice, bool pinned, bl_error *err);

/* Copies all blocks from the store, to `shift` bytes behind their places; *seconds of the device's clock. */
int bench_copy_all(bench *b, uint64_t shift, bl_error *err);

/* One pass; *seconds of the device's clock. seconds_each: [block_count], or NULL. */
int bench_pass(bench *b, const void *const *inputs, void *const *outputs, double *seconds, double *each,
               bl_error *err);

/* A pass alone, and one while all weights are copied beside it to a place of their own: of a bench that was
 * opened for twice as many, with a store. Seconds; *slowdown: by what share compute takes longer meanwhile.
 */
int bench_beside(bench *b, double *alone, double *beside, double *slowdown, bl_error *err);

/* Waits for all, with copies that may have run beside a pass. */
int bench_sync(bench *b, bl_error *err);

/* Made-up values for every input of a graph (numbers of keys: all; rows: 0), and room for its outputs. Free
 * with bench_free_values. */
int bench_make_values(void **inputs, void **outputs, const bl_graph *g, bl_error *err);
void bench_free_values(void **inputs, void **outputs, const bl_graph *g);

#define BENCH_PORTS 16

#endif
