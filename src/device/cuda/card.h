/* What is known of a card: asked of the driver, or read from a file that was written where one is. */
#ifndef BALLAST_DEVICE_CUDA_CARD_H
#define BALLAST_DEVICE_CUDA_CARD_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of one shape: which of a library's proposals was the fastest, and the scratch that it takes. */
typedef struct bl_cuda_choice {
    uint64_t key;
    int choice; /* from 0 on; -1: the library has none */
    uint64_t workspace_bytes;
} bl_cuda_choice;

typedef struct bl_cuda_card {
    char name[64];
    int major, minor, processors;
    uint64_t memory_bytes;
    uint64_t own_bytes;           /* that driver and libraries take of it; 0: not known */
    double flops_f32, flops_bf16; /* a second, as networks reach them; a guess until measured */
    double memory_rate;           /* bytes a second */
    double copy_rate;             /* likewise, into it; a guess until measured */
    double copy_slowdown;         /* by what share a pass takes longer beside copies; 0 until measured */
    double file_rate;             /* likewise, from files; 0: has to be measured */
    uint64_t host_bytes;          /* of the machine that it is in; 0: not known */
    bool graphs;                  /* CUDA's graphs were faster */
    size_t cudnn, cublaslt;       /* versions that the choices belong to */
    char *properties;             /* as cuDNN describes it; NULL: not known. Owner: this struct */
    bl_cuda_choice *choices;      /* [choice_count], by key. Owner: this struct */
    int choice_count;
} bl_cuda_card;

/* `origin` stands in messages. What is in *out is the caller's to free. */
int bl_cuda_card_parse(bl_cuda_card *out, const char *text, size_t length, const char *origin, bl_error *err);
int bl_cuda_card_load(bl_cuda_card *out, const char *path, bl_error *err);
void bl_cuda_card_free(bl_cuda_card *c);

/* NULL: there is none. */
const bl_cuda_choice *bl_cuda_card_choice(const bl_cuda_card *c, uint64_t key);

/* Fills in rates that nobody measured: `clock` in Hz. Shares of the peak as published for networks of this
 * kind (docs/cuda.md). */
void bl_cuda_card_guess(bl_cuda_card *c, double clock);

/* The cards whose choices come with Ballast, as text; ends in NULL. */
extern const char *const bl_cuda_shipped_cards[];

#endif
