/* What to set in a program that the user already has: each setting that it offers, played by its own rule on
 * this model, size and device. docs/advise.md says what the rules are, from where, and what is left out. */
#ifndef BALLAST_RESIDENCY_ADVISE_H
#define BALLAST_RESIDENCY_ADVISE_H

#include "residency/tell/sweep.h"

#include <stdbool.h>

typedef enum bl_peer { BL_SDNEXT = 0, BL_COMFYUI, BL_SDCPP, BL_DIFFUSERS, BL_PEER_COUNT } bl_peer;

/* By the name of the command line: "sdnext", "comfyui", "sdcpp", "diffusers". BL_E_ARGUMENT names them all.
 */
int bl_peer_find(bl_peer *out, const char *name, bl_error *err);

/* One thing to set, in the program's words, and what a generation then takes. */
typedef struct bl_remedy {
    char set[96];
    bl_sweep_row row;
} bl_remedy;

#define BL_REMEDIES 8

typedef struct bl_advice {
    bl_peer program;
    const char *title;           /* "SD.Next". Static storage */
    bl_remedy rows[BL_REMEDIES]; /* [count]; the first is the program as it comes */
    int count;
    int take;          /* the row to take: 0 if nothing is to change, -1 if nothing works */
    bl_sweep_row ours; /* `auto`, beside them */
} bl_advice;

/* Plays them at the problem's budget. `model_type`: what the program calls the model ("sdxl"), or NULL. */
int bl_advise(bl_advice *out, const bl_problem *p, bl_peer program, const char *model_type, bl_error *err);

/* A table and a sentence for people, and a JSON object (NULL: no memory; caller owns it). */
void bl_advice_print(FILE *file, const bl_advice *a);
json_t *bl_advice_json(const bl_advice *a);

#endif
