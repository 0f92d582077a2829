/* The owner of a device's memory: the one region, what lies where in it, the executor that walks plans there,
 * and what was measured of the device. Every model of a context adds its modules here, so a plan takes in all
 * of them and one budget holds for them together.
 *
 * Threads: one at a time. */
#ifndef BALLAST_RESIDENCY_MEMORY_H
#define BALLAST_RESIDENCY_MEMORY_H

#include "residency/run/calibration.h"
#include "residency/run/executor.h"

typedef struct bl_memory bl_memory;

/* `calibration_path`: SQLite file, or NULL: measurements are kept in memory only. Device and log are borrowed
 * and must outlive the owner. Opens no region. Caller owns *out. */
int bl_memory_open(bl_memory **out, bl_device *d, const char *calibration_path, const bl_log *log,
                   bl_error *err);
/* After the modules were removed. Closes the region. */
void bl_memory_close(bl_memory **m);

bl_device *bl_memory_device(const bl_memory *m);
bl_executor *bl_memory_executor(const bl_memory *m);
bl_calibration *bl_memory_calibration(const bl_memory *m);
/* The device's caps, asked anew. Borrowed. */
const bl_device_caps *bl_memory_caps(bl_memory *m);

/* What plans are told of a module. */
typedef struct bl_memory_module {
    bl_device_module *device;       /* borrowed until bl_memory_remove */
    const char *name, *dtype;       /* copied, as all that follows */
    const char *model;              /* whose it is, for people; NULL: nothing is said */
    const bl_problem_block *blocks; /* [block_count] names and bytes */
    int block_count;
} bl_memory_module;

/* Takes in a module, none of whose blocks is on the device. *id is the module's number from now on. */
int bl_memory_add(int *id, bl_memory *m, const bl_memory_module *module, bl_error *err);
/* Gives up its places on the device; with nothing left there, the region too. Not within a generation. */
void bl_memory_release(bl_memory *m, int id);
/* Gives up the places of one block, on the device and in the host store: what is packed there is not what it
 * shall be any more. Not within a generation. */
void bl_memory_drop(bl_memory *m, int id, int block);
/* The block takes so many bytes from now on. It must be nowhere. */
void bl_memory_resize(bl_memory *m, int id, int block, uint64_t bytes);
/* As bl_memory_release, and forgets the module. */
void bl_memory_remove(bl_memory *m, int id);

/* What was added under a number, and where its blocks lie now; also while a generation is under way. */
typedef struct bl_memory_places {
    const char *name, *dtype;
    const bl_problem_block *blocks; /* [block_count] */
    const uint64_t *at, *stored;    /* [block_count] offsets, or BL_NOWHERE */
    int block_count;
} bl_memory_places;

/* Borrowed until the next call; false: the number is free. */
bool bl_memory_look(bl_memory_places *out, const bl_memory *m, int id);

/* A new problem with these modules ([count] numbers, in this order) and all others that have something on the
 * device, behind them; with what lies where, the device's memory and its copy rates. Phases and the budget
 * are the caller's to add. Caller owns *out. */
int bl_memory_problem(bl_problem **out, bl_memory *m, const int *ids, int count, bl_error *err);

#endif
