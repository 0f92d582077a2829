/* What a bench consists of: bench.c has whole passes, blocks.c single blocks. */
#ifndef BALLAST_TUNE_BENCH_PARTS_H
#define BALLAST_TUNE_BENCH_PARTS_H

#include "tune/bench.h"

#define BL_BENCH_WAYS 96  /* tunings that are remembered */
#define BL_BENCH_GROUPS 8 /* kinds of blocks that are measured */
#define BL_BENCH_PORTS 64

/* A graph's buffers. */
typedef struct bl_bench_ports {
    bl_port inputs[BL_BENCH_PORTS + 1], outputs[BL_BENCH_PORTS + 1];
    void *in[BL_BENCH_PORTS], *out[BL_BENCH_PORTS]; /* the same, by number; owned */
    int input_count, output_count;
    uint64_t bytes[BL_BENCH_PORTS]; /* [output_count] */
} bl_bench_ports;

/* Blocks with the same work: one of them stands for all. */
typedef struct bl_bench_group {
    int block, members;
    double flops;       /* of one */
    uint64_t at, bytes; /* of its weights in the region */
    double least;       /* seconds of the fastest way; INFINITY: none was measured */
} bl_bench_group;

/* What is known of a tuning. */
typedef struct bl_bench_way {
    bl_tuning tuning;
    bl_prepared *prepared;           /* held; NULL: it cannot be prepared */
    double seconds[BL_BENCH_GROUPS]; /* the shortest so far; INFINITY: none */
} bl_bench_way;

struct bl_bench {
    bl_bench_options o;
    bl_device *device;
    bl_bench_group groups[BL_BENCH_GROUPS];
    int group_count;
    double covered; /* part of the pass's work that the groups are */
    bl_bench_way ways[BL_BENCH_WAYS];
    int way_count;
    bl_bench_ports ports;
    bl_bench_ports other; /* of the same graph, for what comes out the other way; inputs are not its own */
    bl_bench_ports before;
};

#endif
