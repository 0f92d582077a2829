/* The calibration's file. It is a cache, but a good one is never lost: only one that SQLite reads as damaged,
 * or that holds other tables, is replaced, and then kept under another name. */
#ifndef BALLAST_RESIDENCY_CALIBRATION_FILE_H
#define BALLAST_RESIDENCY_CALIBRATION_FILE_H

#include "core/error.h"
#include "core/log.h"
#include "residency/run/calibration.h"

#include <sqlite3.h>

/* Opens or makes the database. `path` NULL: in memory. A file that cannot be used now (locked for long, no
 * permission, no room on the disk) is left alone, and the database lives in memory. What is done besides is
 * said to `log` in one line. BL_E_MEMORY. Caller closes *out with sqlite3_close. */
int bl_calibration_file_open(sqlite3 **out, const char *path, const bl_log *log, bl_error *err);

/* Where a calibration keeps what it knows. Borrowed. */
sqlite3 *bl_calibration_database(const bl_calibration *c);

#endif
