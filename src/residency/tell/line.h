/* The timing line: where the time of a finished generation went, as fields and as text. */
#ifndef BALLAST_RESIDENCY_LINE_H
#define BALLAST_RESIDENCY_LINE_H

#include "residency/run/ledger.h"

#include <jansson.h>

#define BL_LINE_STAGES 64

typedef struct bl_line {
    char text[1024]; /* "Time: 5.52s | total 8.57 pipeline 3.60 ... | first load 0.00 swap 0.84 steady 4.70 |
                        GPU memory 11.2 GB 46% | RAM 15.7 GB 24%" */
    double wall_seconds, total_seconds;     /* the clock's, and the sum of all stages; "other" has no stage */
    bl_ledger_stage stages[BL_LINE_STAGES]; /* from the longest down; in the text those of 5 ms and more */
    int stage_count;
    double first_load_seconds, swap_seconds, steady_seconds; /* of the device's, as bl_share says */
    char device[16];                                         /* what the memory belongs to: "GPU", "CPU" */
    uint64_t peak_bytes, memory_bytes;
    uint64_t ram_bytes, ram_total_bytes; /* of the process, of the machine; 0: unknown, and left out */
} bl_line;

void bl_line_make(bl_line *out, const bl_ledger *l, double wall_seconds, const char *device,
                  uint64_t ram_bytes, uint64_t ram_total_bytes);

/* The fields by their names; stages as [{"name", "seconds"}]. Caller owns it; NULL: no memory. */
json_t *bl_line_json(const bl_line *line);

#endif
