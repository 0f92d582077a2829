/* What this machine was measured to do: copy rates by size and seconds of each block, in a small SQLite file.
 * It is a cache: what is wrong with the file costs measurements, never a generation. */
#ifndef BALLAST_RESIDENCY_CALIBRATION_H
#define BALLAST_RESIDENCY_CALIBRATION_H

#include "core/log.h"
#include "residency/run/ledger.h"
#include "residency/plan/plan.h"

/* The file's name in the cache's folder. It has the version of the tables in it, so that two versions of the
 * library each keep their own. */
#define BL_CALIBRATION_FILE "calibration-1.db"

typedef struct bl_calibration bl_calibration;

/* Everything that a measurement depends on beside the block itself. Strings are borrowed. */
typedef struct bl_calibration_key {
    const char *device; /* caps.name: "AMD EPYC ..., avx512_bf16, 2 threads" */
    const char *dtype;  /* "BF16", "BF16, Q8_0" where weights stay small: copies and widening are known by it,
                           blocks by that of their module */
    /* [listed_phases] of the problem: what the phase's model is, "sdxl", and its shape, "2x128x128"; shapes
     * that are NULL are never known */
    const char *const *models;
    const char *const *shapes;
} bl_calibration_key;

/* `path` NULL: kept in memory only. A file that is damaged, or not one of ours, is renamed to PATH.damaged
 * and begun anew; one that cannot be used now is left alone and the calibration lives in memory; both are
 * said to `log` in one line. BL_E_MEMORY. */
int bl_calibration_open(bl_calibration **out, const char *path, const bl_log *log, bl_error *err);
void bl_calibration_close(bl_calibration **c);

/* Puts measured figures in place of the problem's: block seconds of every phase whose shape and level were
 * measured, and copy seconds from the rates by size. *phases (may be NULL): how many phases are known.
 * Finishes the problem. */
int bl_calibration_apply(const bl_calibration *c, const bl_calibration_key *key, bl_problem *p, int *phases,
                         bl_error *err);

/* Values a second that are widened from codes; 0: not known. */
double bl_calibration_widen_rate(const bl_calibration *c, const bl_calibration_key *key);

/* Seconds of a pass of so much work through a module of this name and type, without widening, as passes in
 * other shapes say. False: nothing is known. */
bool bl_calibration_pass(double *seconds, const bl_calibration *c, const bl_calibration_key *key,
                         const char *module, const char *dtype, double work);

/* Learns from a finished generation. Old figures fade: a new one counts a quarter, a faster one a half. */
int bl_calibration_learn(bl_calibration *c, const bl_calibration_key *key, const bl_problem *p,
                         const bl_plan *plan, const bl_ledger *l, bl_error *err);

#endif
