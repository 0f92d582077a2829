/* What blocks were measured to take, and what of that copies beside them took. The two are told apart by
 * measurements of the same block with more and with less of copies beside it. */
#ifndef BALLAST_RESIDENCY_CALIBRATION_BLOCKS_H
#define BALLAST_RESIDENCY_CALIBRATION_BLOCKS_H

#include "residency/run/calibration_file.h"

/* Statements about the figures of blocks, for one reading or learning. */
typedef struct bl_block_figures {
    sqlite3_stmt *read[2], *write[2]; /* of seconds, and of those beside copies */
    char shape[256];                  /* that they are about */
} bl_block_figures;

/* False: see the database's error. Closed either way. */
bool bl_block_figures_open(bl_block_figures *f, sqlite3 *db, bool write);
void bl_block_figures_close(bl_block_figures *f);

/* Seconds of each block of a phase at a level, copies beside it in them, and of these the seconds beside
 * copies: [block_count] each. False unless all are known. */
bool bl_block_figures_read(bl_block_figures *f, const bl_calibration_key *key, const bl_problem *p, int phase,
                           int level, double *seconds, double *beside);

/* Learns from a finished generation. *slowdown: by what share compute takes longer beside copies as it is
 * known so far, and then as this generation says. *told: whether it says anything: blocks have to have run
 * with more and with less of copies beside them, in it or since they were measured first. BL_E_MEMORY, or
 * BL_E_IO: the database says why. */
int bl_block_figures_learn(double *slowdown, bool *told, bl_block_figures *f, const bl_calibration_key *key,
                           const bl_problem *p, const bl_plan *plan, const bl_ledger *l, bl_error *err);

#endif
