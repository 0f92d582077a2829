/* What may be chosen about how a graph is run, beside what it computes. Each choice is a row of bl_choices: a
 * new one is one more row, a field of bl_tuning, and the place that reads the field. */
#ifndef BALLAST_CORE_TUNING_H
#define BALLAST_CORE_TUNING_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>

#define BL_TUNING_SIZES 4 /* of pictures in a graph, each half as wide as the one before */

/* Tiles of 4x4 pixels below which a picture is convolved without Winograd's algorithm where nothing was
 * chosen: transforming the filters costs more than it saves against oneDNN's bf16. A matter of the picture
 * alone, so that a batch gives the bits of its pictures. */
#define BL_TUNING_FEW_TILES 8

/* 0: nothing was chosen, and all is as it always is. */
typedef struct bl_tuning {
    int threads; /* that run the graph */
    int level;   /* the arena level that it begins with: what higher levels are to it */
    int pin; /* each thread keeps to a core of its own: 1: of one node after the other, 2: of nodes in turn */
    int rest;   /* 1: threads that wait for work go to sleep soon, instead of spinning */
    int graphs; /* of a card: 1: each op is launched by itself, 2: blocks as CUDA's graphs */
    /* Convolutions of pictures of the graph's largest size, half of it, and so on: 1: by oneDNN where it can,
     * 2: by Winograd's algorithm */
    int winograd[BL_TUNING_SIZES];
} bl_tuning;

/* Where choices are made. */
typedef struct bl_choice_place {
    int threads;                  /* that run a graph without a choice */
    int cores, processors, nodes; /* that this process may use; 0: threads are not ours to choose */
    int arena_levels;             /* of the device */
    bool launches;                /* on a card, whose works may be put into graphs */
    bool convolves;               /* the device in two ways, what it does in bf16 */
    int tiles[BL_TUNING_SIZES]; /* of the graph's convolved pictures by size, where it does; 0: there are none
                                 */
} bl_choice_place;

/* The size in bl_tuning of a picture so wide, in a graph whose widest convolved picture is `widest`. */
int bl_tuning_size(int widest, int width);

#define BL_CHOICE_VALUES 16

typedef struct bl_choice {
    const char *name;    /* "threads" */
    const char *changes; /* what it may change, for people */
    size_t field;        /* an int of bl_tuning */
    int most;            /* no value is larger */
    bool same_bits;      /* meant to leave every bit of the picture as it is */
    bool yields;         /* gains where others use the machine, and may lose where nobody does */
    /* Values to try beside 0, in increasing order; how many. */
    int (*values)(int values[BL_CHOICE_VALUES], const bl_choice_place *where);
} bl_choice;

#define BL_CHOICES (5 + BL_TUNING_SIZES)
extern const bl_choice bl_choices[BL_CHOICES];

static inline int *bl_tuning_field(bl_tuning *t, const bl_choice *c) {
    return (int *)(void *)((char *)t + c->field);
}

static inline int bl_tuning_value(const bl_tuning *t, const bl_choice *c) {
    return *(const int *)(const void *)((const char *)t + c->field);
}

bool bl_tuning_same(const bl_tuning *a, const bl_tuning *b);

/* Whether there are choices that gain where others use the machine; and all others. */
bool bl_tuning_yields(const bl_tuning *t);
bl_tuning bl_tuning_unyielding(const bl_tuning *t);

#define BL_TUNING_TEXT 128

/* "threads=2,level=1"; "" where nothing was chosen. */
void bl_tuning_text(char out[BL_TUNING_TEXT], const bl_tuning *t);
/* Reads such a text, which may come from anywhere. BL_E_FORMAT says what is wrong with it. */
int bl_tuning_parse(bl_tuning *out, const char *text, bl_error *err);

#endif
