/* Walks a plan on a device: wait for room, onload, run, record. The same code for every device. What is
 * resident at the end of one generation is there when the next is planned; modules come and go in between.
 *
 *   bl_executor_open, bl_executor_add for each module
 *     for each generation: bl_executor_resident(problem) -> plan -> bl_executor_start
 *       for each phase: bl_executor_phase_begin, as many bl_executor_pass as planned, bl_executor_phase_end
 *     bl_executor_finish   (also after an error: it waits for what is under way)
 *   bl_executor_close */
#ifndef BALLAST_RESIDENCY_EXECUTOR_H
#define BALLAST_RESIDENCY_EXECUTOR_H

#include "device/device.h"
#include "residency/run/ledger.h"
#include "residency/plan/plan.h"

typedef struct bl_executor bl_executor;

typedef struct bl_executor_options {
    const bl_log *log; /* NULL, or where decisions go */
    bool move_debug;   /* log a line for each decision */
} bl_executor_options;

/* The device is borrowed and must outlive the executor. Opens no region yet. `options` may be NULL. Caller
 * owns *out. */
int bl_executor_open(bl_executor **out, bl_device *d, const bl_executor_options *options, bl_error *err);
/* Waits for what is under way, closes the region. */
void bl_executor_close(bl_executor **e);

/* Takes in a module of `count` blocks, none of them on the device. *id: the smallest number that is free, by
 * which problems name it (bl_problem_module.id). `module` is borrowed until bl_executor_remove. Between
 * generations, like all that follows here. */
int bl_executor_add(int *id, bl_executor *e, bl_device_module *module, int count, bl_error *err);
/* Gives up the module's places; with nothing left on the device the region is closed, too. */
void bl_executor_forget(bl_executor *e, int id);
/* Gives up the places of one block, in the region and in the store; both stay open. */
void bl_executor_drop(bl_executor *e, int id, int block);
/* As bl_executor_forget, and the executor does not know it any more. */
void bl_executor_remove(bl_executor *e, int id);
/* Whether any block of it is on the device. */
bool bl_executor_holds(const bl_executor *e, int id);

/* Offsets of its blocks in the region and in the host store, BL_NOWHERE where they are not. At any time, also
 * while a generation is under way. Borrowed until the next call; false: the number is free. */
bool bl_executor_places(const uint64_t **at, const uint64_t **stored, const bl_executor *e, int id);
/* Bytes of the open region; 0: none is open. */
uint64_t bl_executor_region_bytes(const bl_executor *e);

/* What is asked between blocks from now on; non-zero stops with BL_E_CANCELLED. NULL: nothing. */
void bl_executor_watch(bl_executor *e, int (*cancel)(void *payload), void *payload);

/* How many of the plan's moves have begun, from the first on. */
int bl_executor_begun(const bl_executor *e);

/* Sets what is resident of the problem's modules, and the open region's size; call bl_problem_finish after
 * it, or before and after. A module on the device that the problem does not have is forgotten when its
 * generation starts. */
void bl_executor_resident(const bl_executor *e, bl_problem *p);

/* Opens the host store that the problem's plans will use, of at most its host_bytes and no more than all of
 * its blocks; one that is open stays if it suits. What the host does not pin is taken as it is, and where it
 * has less, less: the problem's host_bytes are what there is afterwards. BL_E_MEMORY when that is too little.
 * For finished problems with a store. */
int bl_executor_open_store(bl_executor *e, bl_problem *p, const bl_log *log, bl_error *err);

/* Bytes of the host store that is open; 0: none. */
uint64_t bl_executor_store_bytes(const bl_executor *e);

/* Bytes that the device says are free now, the open region not counted. */
uint64_t bl_executor_free_bytes(const bl_executor *e);

/* Begins a generation. `p` and `plan` are borrowed until bl_executor_finish. `executables`: [phase_count],
 * prepared at the level that the plan chose for the phase; borrowed likewise. `ledger` is cleared and filled.
 * BL_E_MEMORY: the device refused the region; nothing is resident and no region is open any more. Plan again
 * with less (bl_start does that). */
int bl_executor_start(bl_executor *e, const bl_problem *p, const bl_plan *plan,
                      bl_executable *const *executables, bl_ledger *ledger, bl_error *err);

/* Phases come in the plan's order. */
int bl_executor_phase_begin(bl_executor *e, int phase, bl_error *err);
/* One pass over all blocks. `inputs` and `outputs` as in bl_binding; outputs are complete on return. */
int bl_executor_pass(bl_executor *e, const void *const *inputs, void *const *outputs, bl_error *err);
/* The passes of the phase that have not been made are not made; *left_out goes up by their number. What they
 * would have brought in, or driven out, for later runs is done all the same: then things lie as planned. */
int bl_executor_phase_cut(bl_executor *e, int *left_out, bl_error *err);
/* BL_E_ARGUMENT when fewer passes were made than planned, and the phase was not cut. */
int bl_executor_phase_end(bl_executor *e, bl_error *err);

/* Ends the generation, however far it got: waits for copies under way and completes the ledger. What is
 * resident stays valid. The first error of the device, if it fails now. */
int bl_executor_finish(bl_executor *e, bl_error *err);

#endif
