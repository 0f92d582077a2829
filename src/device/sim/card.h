/* A described machine: what `sim` pretends to be. */
#ifndef BALLAST_DEVICE_SIM_CARD_H
#define BALLAST_DEVICE_SIM_CARD_H

#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct bl_sim_card {
    char name[128];
    uint64_t memory_bytes;
    double copy_rate;     /* store to device, bytes a second */
    double copy_latency;  /* seconds each copy */
    double copy_slowdown; /* by what share compute takes longer while copies run beside it */
    double memory_rate;   /* the device's own memory, bytes a second */
    double flops_f32;     /* floating-point operations a second, as reached and not as advertised */
    double flops_bf16;
    bool shares_cores; /* copies and compute cannot run at the same time */
    /* the machine around the card; 0: not described, and weights wait in as much host memory as they need */
    uint64_t host_bytes;
    double file_rate;    /* file to host memory, converted and packed: bytes of the file a second */
    double file_latency; /* seconds each block */
} bl_sim_card;

/* Reads a card's JSON text; `origin` is what messages call it. The fields are those of the struct, without
 * shares_cores where it is false, copy_slowdown where it is 0 and the machine around it where it is not
 * described, with flops an object {"f32": ..., "bf16": ...}; "sources" says where each figure is from and is
 * not read. BL_E_FORMAT names what is missing or makes no sense. */
int bl_sim_card_parse(bl_sim_card *out, const char *text, size_t length, const char *origin, bl_error *err);
int bl_sim_card_load(bl_sim_card *out, const char *path, bl_error *err);

#endif
