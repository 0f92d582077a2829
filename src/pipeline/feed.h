/* What the denoiser's graph reads and writes in a pass: buffers bound to ports, filled as each kind of
 * network wants them. */
#ifndef BALLAST_PIPELINE_FEED_H
#define BALLAST_PIPELINE_FEED_H

#include "pipeline/condition.h"
#include "pipeline/generation.h"

#define BL_FEED_PORTS 16
#define BL_FEED_TABLES 4
#define BL_FEED_INDICES 4

/* What it is opened for. */
typedef struct bl_feed_shape {
    const bl_architecture *arch;
    const bl_condition *condition;
    const bl_checkpoint *ckpt;   /* that holds tables of positions; NULL where only bytes are asked for */
    int batch, height, width;    /* of the latents */
    int told_height, told_width; /* of the picture, as SDXL is told it */
    int times;                   /* as in bl_shape_key; 0: there is no such prologue */
    double guidance;             /* that a network reads as a number, if it does */
} bl_feed_shape;

/* Rows: those of the condition, for each of the batch. */
typedef struct bl_feed {
    bl_feed_shape shape;
    size_t rows;
    size_t n;         /* floats of one picture's latents */
    float *sample;    /* [rows, c, h, w] */
    float *output;    /* [rows, c, h, w] */
    float *timestep;  /* [rows] */
    float *context;   /* [rows, tokens, dim] */
    int32_t *lengths; /* [rows] how much of the context counts; NULL: all */
    float *pooled;    /* [rows, pooled_dim] */
    float *time_ids;  /* [rows, 6] */
    float *tables[BL_FEED_TABLES];
    int32_t *indices[BL_FEED_INDICES];
    bl_port inputs[BL_FEED_PORTS], outputs[2]; /* of a pass */
    bl_port prologue[4];                       /* inputs of the prologue, if there is one */
    int input_count;
    double velocity; /* factor of the output: -1 where the network gives the negative of what it predicts */
} bl_feed;

/* Allocates, and tells the rows what they are told at a pass's first call. The caller closes it, also after a
 * failure. BL_E_MEMORY. */
int bl_feed_open(bl_feed *f, const bl_feed_shape *shape, int pass, bl_error *err);
void bl_feed_close(bl_feed *f);

/* Tells the rows what they are told at a call. */
void bl_feed_tell(bl_feed *f, int pass, int call);

/* Tells the prologue the times of all calls, at most shape.times. */
void bl_feed_times(bl_feed *f, const double *timesteps, int count);

/* Tells the rows the time at a call. */
void bl_feed_time(bl_feed *f, double timestep, int call);

/* Bytes that it allocates beside latents and context. */
uint64_t bl_feed_bytes(const bl_feed_shape *shape);

#endif
