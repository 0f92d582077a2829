/* Weights, inputs and networks that are made up: what full-size benches run on. */
#ifndef BALLAST_BENCH_MADE_UP_H
#define BALLAST_BENCH_MADE_UP_H

#include "graph/source.h"

#define MADE_UP 65536 /* values, which come again and again */

/* Call first. */
void made_up_begin(void);
/* In -1 .. 1, as bf16 has it. */
float made_up_value(int64_t i);

/* Input number i of a graph, made: numbers; of I32 tokens for "ids", all rows for "counts", and else 0. NULL:
 * no memory. Caller: free. */
void *made_up_input(const bl_graph *g, int i);

/* A source of weights: bf16, scaled so that sums stay near 1. */
bl_dtype made_up_dtype(void *payload, const bl_weight *w, int part);
int made_up_read(void *payload, const bl_weight *w, int part, int64_t begin, int64_t end, void *dst,
                 bl_error *err);

/* The storage of this name ("Q8_0"); BL_STORED_PLAIN where there is none. */
bl_storage made_up_storage(const char *name);

/* The same as codes: `payload` is the bl_storage that weights wait in. Their values are others than those of
 * made_up_read, and small. */
bool made_up_small(void *payload, const bl_weight *w, int part, bl_small *form);
int made_up_read_small(void *payload, const bl_weight *w, int part, int64_t begin, int64_t end, void *codes,
                       float *scales, bl_error *err);

/* unet (SD 1.5), sdxl, zimage, klein (FLUX.2), vae (decoder) or tiny, for pictures of `size`; qwen3: a
 * text. */
int made_up_graph(bl_graph **g, const char *what, bl_dtype dtype, int size, int batch, bl_error *err);

#endif
