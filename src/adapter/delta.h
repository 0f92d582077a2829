/* What an adapter adds to rows of a layer, made from its file's factors in F32:
 *
 *   LoRA   k up down, with down [rank, in * kh * kw]; Tucker's: down[m, j, p] = sum over n of mid[m, n, p]
 * down[n, j] LoHa   k (w1a w1b) o (w2a w2b); Tucker's: w1b as above out of t1 and w1b, w1a transposed LoKr k
 * kron(w1, w2) full   the difference DoRA   m (W + d) / |W + d| - W, d one of the above; the length is of a
 * row, or of all that one input reads
 *
 * k is alpha / rank (bl_adapted.scale). All are made from the base's weight W. */
#ifndef BALLAST_ADAPTER_DELTA_H
#define BALLAST_ADAPTER_DELTA_H

#include "adapter/adapter.h"

/* The factors of one layer, in memory as they are multiplied with. Begin with {0}; bl_factors_clear. One
 * thread at a time. */
typedef struct bl_factors {
    const bl_adapted *of; /* NULL: none are in here */
    int64_t columns;      /* in * kh * kw */
    struct bl_pair {
        int64_t rank;
        float *panels;  /* of b [rank, columns] */
        float *a;       /* [rows, rank], where the file has it otherwise; NULL: rows are read from it */
        int16_t *fixed; /* of b in integers, instead of `panels`; else NULL */
        float *scales;  /* of `fixed` */
    } pair[2];          /* LoRA: the first; LoHa: both */
    float *w1, *w2;     /* LoKr: [o1, i1], [o2, i2 * kh * kw] */
    int64_t o1, i1;
    float *magnitude; /* DoRA: [rows] or [inner] */
} bl_factors;

/* `coarse`: what is made is rounded to 16 bits in the end, so a plain LoRA is multiplied in integers
 * (fixed.h). */
int bl_factors_fill(bl_factors *f, const bl_adapter *a, const bl_adapted *x, bool coarse, bl_error *err);
void bl_factors_clear(bl_factors *f);
/* Bytes that filling takes. */
uint64_t bl_factors_bytes(const bl_adapted *x);

/* d of rows [begin, end): out [end - begin, columns] = d, or, with `add`, += strength * d. `spare`: room for
 * as much as out. */
int bl_delta_rows(float *out, float strength, bool add, const bl_factors *f, const bl_adapter *a,
                  int64_t begin, int64_t end, float *spare, bl_error *err);

/* The same of a bias: out [end - begin] += strength * difference. */
int bl_delta_bias(float *out, float strength, const bl_adapter *a, const bl_adapted *x, int64_t begin,
                  int64_t end, bl_error *err);

/* out += strength * (m v / length - base), v = base + d. [rows, columns] each; `v` is written over. `length`
 * is made here where it is of a row; else it is that of each input, [inner]. `first`: number of the first
 * row. */
void bl_delta_dora(float *out, float strength, const float *base, const float *v, const bl_factors *f,
                   const double *lengths, int64_t first, int64_t rows);
/* Adds the squares of v to sums [inner], one of each input. */
void bl_delta_squares(double *sums, const float *v, const bl_factors *f, int64_t rows);

#endif
