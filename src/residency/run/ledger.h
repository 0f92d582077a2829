/* The ledger: what really happened, each compute, copy and wait with start, length and bytes, on the device's
 * clock. Sums by stage make the timing line; the entries make the trace and refresh the calibration. */
#ifndef BALLAST_RESIDENCY_LEDGER_H
#define BALLAST_RESIDENCY_LEDGER_H

#include "residency/plan/plan.h"

#include <stddef.h>

typedef enum bl_work {
    BL_WORK_COMPUTE, /* a block ran */
    BL_WORK_ONLOAD,  /* a block was copied to the device */
    BL_WORK_LOAD,    /* a block was packed into the host store */
    BL_WORK_WAIT,    /* compute stood still for a copy */
    BL_WORK_HOST     /* the pipeline's own work between runs */
} bl_work;

typedef struct bl_ledger_entry {
    bl_work work;
    int stage;         /* index into the ledger's stages */
    int phase;         /* -1: host work */
    int module, block; /* -1: host work */
    int run;           /* of compute; of a copy the run that waits for it */
    bl_share share;    /* of compute, copies and waits: what their seconds belong to, as the plan's */
    uint64_t bytes;
    double start, seconds; /* start: since the ledger began */
} bl_ledger_entry;

typedef struct bl_ledger_stage {
    char name[BL_PROBLEM_NAME];
    double seconds;
    bool named; /* by the timing line, however short it was */
} bl_ledger_stage;

/* A phase's part of the device's seconds. */
typedef struct bl_ledger_phase {
    char name[BL_PROBLEM_NAME];
    double shares[BL_SHARE_COUNT];
} bl_ledger_phase;

typedef struct bl_ledger {
    bl_ledger_entry *entries; /* in the order in which they became known */
    int count, room;
    bl_ledger_stage *stages; /* "onload" and "move" are always the first two */
    int stage_count, stage_room;
    bool async_copy;
    double began, ended; /* on the device's clock */
    uint64_t peak_bytes; /* end of the highest byte of the region that was used, as the device noted it */
    uint64_t arena_bytes[BL_PROBLEM_PHASES];   /* [phase_count] that each phase reached, noted likewise */
    bl_ledger_phase phases[BL_PROBLEM_PHASES]; /* [phase_count] */
    int phase_count;
    uint64_t memory_bytes; /* of the device */
    uint64_t moved_bytes;
    uint64_t loaded_bytes; /* into the host store */
    double widened;        /* values that were widened from codes, in whole phases, */
    double widen_seconds;  /* and the seconds of compute that this took */
} bl_ledger;

void bl_ledger_init(bl_ledger *l);
void bl_ledger_free(bl_ledger *l);
/* Forgets all entries and sums. */
void bl_ledger_clear(bl_ledger *l);

/* Index of the stage of this name, added if it is new; below 0: no memory. */
int bl_ledger_stage_of(bl_ledger *l, const char *name, bl_error *err);
/* Adds an entry and its sums. */
int bl_ledger_add(bl_ledger *l, bl_ledger_entry entry, bl_error *err);
/* Host work of `seconds` that began at `start` on the device's clock: "upscale", "save". */
int bl_ledger_add_host(bl_ledger *l, const char *stage, double start, double seconds, bl_error *err);

/* The timing line names this stage, however short it was. Without memory for it nothing is done. */
void bl_ledger_name(bl_ledger *l, const char *stage);

/* Takes seconds out of a stage, as far as it has them, and gives them a name of their own. Without memory for
 * it nothing is done. */
void bl_ledger_split(bl_ledger *l, const char *from, const char *name, double seconds);

/* Seconds of a kind of work. */
double bl_ledger_seconds(const bl_ledger *l, bl_work work);
/* Seconds that the plan's `seconds` speaks of: compute and waits, and copies where they share the cores. */
double bl_ledger_device_seconds(const bl_ledger *l);

/* Of these the share of all phases. */
double bl_ledger_share(const bl_ledger *l, bl_share share);

#endif
