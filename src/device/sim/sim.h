/* The simulated device: a described machine on virtual time. It allocates nothing and computes nothing; it
 * knows how long everything would take and what would lie where. The executor cannot tell it from a real one,
 * which is what tests rely on. */
#ifndef BALLAST_DEVICE_SIM_SIM_H
#define BALLAST_DEVICE_SIM_SIM_H

#include "device/device.h"
#include "device/sim/card.h"

/* What goes wrong, by script. All zero: nothing. */
typedef struct bl_sim_faults {
    uint64_t vanished_bytes; /* memory that another program holds when a region is opened; caps do not show it
                                before the first region_open that fails for it */
    int fail_copy;           /* the copy that fails at once, counted from 1; 0: none */
    int fail_run;            /* the same for runs */
    int late;                /* the piece of work (packing, copy, run) that fails late, counted likewise */
    bool lose;               /* a late fault takes all memory with it */
    bool refuse_pinned;      /* host memory is granted only if it need not be pinned */
    double slowdown;         /* beside copies compute takes longer by this share, instead of by the card's,
                                which caps go on to tell; 0: by the card's */
} bl_sim_faults;

int bl_sim_open(bl_device **out, const bl_sim_card *card, const bl_log *log, bl_error *err);
void bl_sim_set_faults(bl_device *sim, const bl_sim_faults *faults);

/* Modules and executables that exist only as numbers, for planning without a model. They are closed as others
 * are. `costs`: [count]; `block_seconds`: [count], a pass. Both are copied. */
int bl_sim_module_describe(bl_device_module **out, bl_device *sim, const bl_block_cost *costs, int count,
                           bl_error *err);
int bl_sim_executable_describe(bl_executable **out, bl_device_module *m, uint64_t arena_bytes,
                               const double *block_seconds, bl_error *err);

/* [block_count] seconds of each block; borrowed from the executable, also of one made by prepare(): the
 * longer of operations / rate and weights / memory rate. */
const double *bl_sim_block_seconds(const bl_executable *x);

/* Bytes of the open regions, and the most there ever were: what a test holds a plan's peak against. */
uint64_t bl_sim_open_bytes(const bl_device *sim);
uint64_t bl_sim_peak_bytes(const bl_device *sim);

#endif
