/* What may be chosen about how a graph is run, beside what it computes. Each choice is a row of bl_choices: a
 * new one is one more row, a field of bl_tuning, and the place that reads the field. */
#ifndef BALLAST_CORE_TUNING_H
#define BALLAST_CORE_TUNING_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>

/* 0: nothing was chosen, and all is as it always is. */
typedef struct bl_tuning {
    int threads;  /* that run the graph */
    int level;    /* the arena level that it begins with: what higher levels are to it */
    int pin;      /* 1: each thread keeps to a core of its own */
    int winograd; /* 1: no convolution that oneDNN could do, 2: every one that may be */
} bl_tuning;

/* Where choices are made. */
typedef struct bl_choice_place {
    int threads;           /* that run a graph without a choice */
    int cores, processors; /* that this process may use; 0: threads are not ours to choose */
    int arena_levels;      /* of the device */
    bool convolves;        /* on the `cpu`, which has two ways to convolve */
} bl_choice_place;

#define BL_CHOICE_VALUES 16

typedef struct bl_choice {
    const char *name;    /* "threads" */
    const char *changes; /* what it may change, for people */
    size_t field;        /* an int of bl_tuning */
    int most;            /* no value is larger */
    bool same_bits;      /* meant to leave every bit of the picture as it is */
    /* Values to try beside 0, in increasing order; how many. */
    int (*values)(int values[BL_CHOICE_VALUES], const bl_choice_place *where);
} bl_choice;

#define BL_CHOICES 4
extern const bl_choice bl_choices[BL_CHOICES];

static inline int *bl_tuning_field(bl_tuning *t, const bl_choice *c) {
    return (int *)(void *)((char *)t + c->field);
}

static inline int bl_tuning_value(const bl_tuning *t, const bl_choice *c) {
    return *(const int *)(const void *)((const char *)t + c->field);
}

bool bl_tuning_same(const bl_tuning *a, const bl_tuning *b);

#define BL_TUNING_TEXT 64

/* "threads=2,level=1"; "" where nothing was chosen. */
void bl_tuning_text(char out[BL_TUNING_TEXT], const bl_tuning *t);
/* Reads such a text, which may come from anywhere. BL_E_FORMAT says what is wrong with it. */
int bl_tuning_parse(bl_tuning *out, const char *text, bl_error *err);

#endif
