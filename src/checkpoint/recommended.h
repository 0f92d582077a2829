/* What a file's maker recommends for its pictures: the metadata "ballast.steps" and "ballast.cfg". */
#ifndef BALLAST_CHECKPOINT_RECOMMENDED_H
#define BALLAST_CHECKPOINT_RECOMMENDED_H

#include "checkpoint/checkpoint.h"

typedef struct bl_recommended {
    int steps;          /* 1 to 1000; 0: the file does not say */
    double cfg;         /* 0 to 1000; -1: the file does not say */
    const char *unread; /* an entry that holds no such number and counts as absent, or NULL; static */
} bl_recommended;

bl_recommended bl_recommended_of(const bl_checkpoint *ckpt);

#endif
