/* What was found to be the fastest way to run one graph on one machine, in the calibration's file. An entry
 * counts for its device, with its driver and libraries, for its model, type and shape, and for this version
 * of Ballast: anything else is not tuned. */
#ifndef BALLAST_RESIDENCY_TUNED_H
#define BALLAST_RESIDENCY_TUNED_H

#include "core/tuning.h"
#include "residency/run/calibration.h"

#define BL_TUNED_MOST 4096 /* entries that are listed, and that a file may have */
#define BL_TUNED_RUNS 10   /* ledgers after which an entry is judged */
#define BL_TUNED_WITHOUT 3 /* of them, where it is on trial, without what is on trial */

typedef struct bl_tuned {
    char device[128]; /* caps.name without its threads */
    char model[64], dtype[16], module[64], shape[64], version[16];
    bl_tuning tuning;
    double untuned_seconds, seconds; /* of a pass, without these choices and with them */
    double psnr;                     /* dB between the two outputs of a pass; 0: the same bits */
    int runs, slower; /* ledgers since; of them those in which a pass took 5% longer than untuned */
    /* It was found while others used the machine, and has choices that gain by that: some runs go without
     * them (core/tuning.h, `yields`), and where those are as fast the entry goes. */
    bool on_trial;
    int without;                    /* of `runs`: those that went without */
    double with_logs, without_logs; /* sums of the logarithms of a pass's seconds, of both */
} bl_tuned;

/* Whether the next run with the entry, as it was found, goes without what is on trial. */
bool bl_tuned_goes_without(const bl_tuned *t);

/* The device's name as tuning knows it: how many threads it has is one of the choices. */
void bl_tuned_device(char out[128], const char *name);

/* Fills in what was kept under the names and version that `out` has; false where nothing was. */
bool bl_tuned_find(bl_tuned *out, const bl_calibration *c);
/* Keeps an entry, in the place of one under the same names. BL_E_MEMORY, BL_E_IO. */
int bl_tuned_keep(bl_calibration *c, const bl_tuned *t, bl_error *err);
/* Keeps all of them or none. */
int bl_tuned_keep_all(bl_calibration *c, const bl_tuned *list, int count, bl_error *err);
/* Forgets the entry of these names, if there is one. */
int bl_tuned_drop(bl_calibration *c, const bl_tuned *t, bl_error *err);
/* All entries, of every version. Caller frees *out; NULL where there are none. BL_E_MEMORY, BL_E_IO. */
int bl_tuned_list(bl_tuned **out, int *count, const bl_calibration *c, bl_error *err);
/* Forgets the entries of a model, or, with NULL, all. *count: how many. */
int bl_tuned_forget(int *count, bl_calibration *c, const char *model, bl_error *err);
/* A run with the entry, or `without` what is on trial, took so many seconds a pass. True: over the last
 * BL_TUNED_RUNS its median was 5% slower than untuned, or, on trial, it was no faster on the average than
 * runs without; and the entry is gone. */
bool bl_tuned_note(bl_calibration *c, const bl_tuned *t, double seconds, bool without);

#endif
