/* What is recommended for a model's pictures: by its file's maker, in the metadata "ballast.steps" and
 * "ballast.cfg"; else by its family's. */
#ifndef BALLAST_CHECKPOINT_RECOMMENDED_H
#define BALLAST_CHECKPOINT_RECOMMENDED_H

#include "checkpoint/checkpoint.h"
#include "checkpoint/family.h"

typedef struct bl_recommended {
    int steps;          /* 1 to 1000; 0: nobody says */
    double cfg;         /* 0 to 1000; -1: nobody says */
    const char *whose;  /* "the model's file", or the family's name. Static storage */
    const char *unread; /* an entry that holds no such number and counts as absent, or NULL; static */
} bl_recommended;

bl_recommended bl_recommended_of(const bl_checkpoint *ckpt, const bl_family *family);

#endif
