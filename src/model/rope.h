/* Tables of angles for rotary position embeddings, as op ROPE reads them: for each row cos t_j, then sin t_j,
 * j < dim / 2. */
#ifndef BALLAST_MODEL_ROPE_H
#define BALLAST_MODEL_ROPE_H

#define BL_ROPE_AXES 4

/* One row. The head's `dim` channels are shared out to the axes, axis[k] (even) of them to axis k; a position
 * p on it turns pair j of its share by p theta^(-2 j / axis[k]). table: [sum of axis]. Angles are made in
 * double. */
void bl_rope_row(float *table, const int *positions, const int *axis, int axes, double theta);

#endif
