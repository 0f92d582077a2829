/* One phase of a request, measured in different ways of running it, on the device and with the weights that
 * it has. The phase's inputs are made up; nothing is kept of what comes out. */
#ifndef BALLAST_TUNE_BENCH_H
#define BALLAST_TUNE_BENCH_H

#include "pipeline/generation.h"
#include "tune/paired.h"

typedef struct bl_bench bl_bench;

typedef struct bl_bench_options {
    bl_modules *modules; /* borrowed, as all that follows */
    bl_changes changes;  /* the adapters that the request has */
    const bl_placement *placement;
    const bl_phase_of *phase;  /* what is measured; its choices do not count */
    const bl_phase_of *before; /* what has to run once before it, as a prologue; or NULL */
    bl_generation_poll *poll;  /* as in bl_generation_start */
    void *payload;
} bl_bench_options;

/* Caller owns *out. */
int bl_bench_open(bl_bench **out, const bl_bench_options *options, bl_error *err);
void bl_bench_close(bl_bench **b);

/* Seconds of a pass with each of `count` tunings, put together from single blocks: of those that are alike
 * one is run, `effort` times with each tuning in turn, and the shortest counts. INFINITY: it cannot be run
 * so. The weights of these blocks and the arena take memory of their own meanwhile. */
int bl_bench_blocks(bl_bench *b, double *seconds, const bl_tuning *tunings, int count, int effort,
                    bl_error *err);
/* The part of a pass with this tuning that would be left if each block ran as fast as it did with any. 1: not
 * known. */
double bl_bench_bound(const bl_bench *b, const bl_tuning *t);

/* Whole passes, in turn: once each to warm up, whose outputs are compared, then `pairs` of them. */
int bl_bench_pairs(bl_bench *b, bl_pairs *out, const bl_tuning *present, const bl_tuning *other, int pairs,
                   bl_error *err);

#endif
