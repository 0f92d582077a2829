/* What is kept of a card, so that plans can be made where none is, and the fastest of the libraries'
 * proposals are taken where one is: the file that `cuda:FILE` and src/device/cuda/cards/ read (docs/cuda.md).
 */
#ifndef BALLAST_BENCH_DEVICE_CARD_FILE_H
#define BALLAST_BENCH_DEVICE_CARD_FILE_H

#include "device/device.h"

#include <jansson.h>

/* Describes the cuda device `d`, prepares each graph, and times the libraries' proposals for each shape until
 * `seconds` have passed; 0: their first one is kept. Nothing else of the device may be open. Owner of *out:
 * caller. */
int card_file_make(json_t **out, bl_device *d, const bl_graph *const *graphs, int count, double seconds,
                   bl_error *err);

#endif
