#include "model/rope.h"

#include <math.h>

void bl_rope_row(float *table, const int *positions, const int *axis, int axes, double theta) {
    int half = 0, at = 0;
    for (int k = 0; k < axes; k++) {
        half += axis[k] / 2;
    }
    for (int k = 0; k < axes; k++) {
        for (int j = 0; j < axis[k] / 2; j++, at++) {
            const double angle = positions[k] * pow(theta, -2.0 * j / axis[k]);
            table[at] = (float)cos(angle);
            table[half + at] = (float)sin(angle);
        }
    }
}
