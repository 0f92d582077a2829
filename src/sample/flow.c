#include "sample/flow.h"

#include <math.h>

#define MOST_TOKENS 4300 /* above it the number of steps does not matter */

double bl_flow_sigma(double level, double shift) {
    return shift / (shift + 1 / level - 1);
}

void bl_flow_sigmas(double *sigmas, int steps, double shift, double least) {
    for (int i = 0; i < steps; i++) {
        const double level = least > 0 && i ? 1 - i * (1 - least) / (steps - 1) : 1 - (double)i / steps;
        sigmas[i] = bl_flow_sigma(level, shift);
    }
    sigmas[steps] = 0;
}

double bl_flow_shift_by_size(double tokens, double low, double high, double low_tokens, double high_tokens,
                             bool linear) {
    const double span = high_tokens - low_tokens;
    const double mu = span > 0 ? low + (high - low) * (tokens - low_tokens) / span : low;
    return linear ? mu : exp(mu);
}

double bl_flow_shift_of(int tokens, int steps) {
    const double few = 8.73809524e-05 * tokens + 1.89833333, many = 0.00016927 * tokens + 0.45666666;
    if (tokens > MOST_TOKENS) {
        return exp(many);
    }
    return exp(many + (few - many) / (10.0 - 200.0) * (steps - 200.0));
}
