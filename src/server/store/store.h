/* Jobs and history in SQLite (WAL), pictures as files: DATA/ballast.db, DATA/pictures/JOB-N.png. A picture
 * has another suffix until it is whole. What was said to be kept survives the end of the process at any
 * moment; SQLite is told not to wait for the disk at each commit, so the last moments before a loss of power
 * may be missing. */
#ifndef BALLAST_SERVER_STORE_STORE_H
#define BALLAST_SERVER_STORE_STORE_H

#include "server/base/keeper.h"

struct store;

/* Opens, or begins, the folder `data`, for this process alone. *keeper is filled and works until store_close.
 * 0, or a status and *p with the line. */
int store_open(struct store **out, const char *data, struct keeper *keeper, struct problem *p);
void store_close(struct store **store);

#endif
