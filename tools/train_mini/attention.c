// Attention for training on a CPU, forward and backward, without storing the score matrix.
// PyTorch's own kernel takes most of a step here, because 8 heads of 8 to 16 channels fill its vectors badly.
// Layout: q, o, and their gradients [G][n][D], k and v [G][m][D] (G = batch x heads), f32, dense; lse [G][n]
// is written by the forward pass and read by the backward pass. q arrives multiplied by 1/sqrt(D). n is a
// multiple of ROWS, m <= MAX_M, D <= MAX_D.
#include <math.h>
#include <stddef.h>
#include <string.h>

enum {
    MAX_M = 576,
    MAX_D = 16,
    ROWS = 4
}; // ROWS queries at a time, so that a key's vector is loaded once for four

typedef float keys[MAX_D][MAX_M];
typedef float rows[ROWS][MAX_M];

// [m][d] -> [d][m], so that the inner loops run over keys.
static void transpose(const float *in, int m, int d, keys out) {
    for (int j = 0; j < m; j++)
        for (int c = 0; c < d; c++)
            out[c][j] = in[(size_t)j * d + c];
}

// s[r][j] = sum over c of a[r][c] * bt[c][j], a: [ROWS][d]
static inline void times_keys(const float *a, keys bt, int m, int d, rows s) {
    for (int j = 0; j < m; j++) {
        float x0 = 0, x1 = 0, x2 = 0, x3 = 0;
        for (int c = 0; c < d; c++) {
            x0 += a[c] * bt[c][j];
            x1 += a[d + c] * bt[c][j];
            x2 += a[2 * d + c] * bt[c][j];
            x3 += a[3 * d + c] * bt[c][j];
        }
        s[0][j] = x0, s[1][j] = x1, s[2][j] = x2, s[3][j] = x3;
    }
}

// out[r][c] = by[r] * sum over j of s[r][j] * bt[c][j]
static inline void sum_keys(rows s, keys bt, int m, int d, const float *by, float *out) {
    for (int c = 0; c < d; c++) {
        float x0 = 0, x1 = 0, x2 = 0, x3 = 0;
        for (int j = 0; j < m; j++) {
            x0 += s[0][j] * bt[c][j];
            x1 += s[1][j] * bt[c][j];
            x2 += s[2][j] * bt[c][j];
            x3 += s[3][j] * bt[c][j];
        }
        out[c] = x0 * by[0], out[d + c] = x1 * by[1], out[2 * d + c] = x2 * by[2],
        out[3 * d + c] = x3 * by[3];
    }
}

// gt[c][j] += sum over r of s[r][j] * a[r][c]
static inline void add_outer(rows s, const float *a, int m, int d, keys gt) {
    for (int c = 0; c < d; c++) {
        const float a0 = a[c], a1 = a[d + c], a2 = a[2 * d + c], a3 = a[3 * d + c];
        for (int j = 0; j < m; j++)
            gt[c][j] += s[0][j] * a0 + s[1][j] * a1 + s[2][j] * a2 + s[3][j] * a3;
    }
}

static inline __attribute__((always_inline)) void
forward_group(const float *q, const float *k, const float *v, float *o, float *lse, int n, int m, int d) {
    keys kt, vt;
    rows s;
    transpose(k, m, d, kt);
    transpose(v, m, d, vt);
    for (int i = 0; i < n; i += ROWS) {
        float by[ROWS];
        times_keys(q + (size_t)i * d, kt, m, d, s);
        for (int r = 0; r < ROWS; r++) {
            float top = s[r][0], sum = 0;
            for (int j = 1; j < m; j++)
                top = s[r][j] > top ? s[r][j] : top;
            for (int j = 0; j < m; j++)
                sum += s[r][j] = expf(s[r][j] - top);
            lse[i + r] = top + logf(sum);
            by[r] = 1 / sum;
        }
        sum_keys(s, vt, m, d, by, o + (size_t)i * d);
    }
}

static inline __attribute__((always_inline)) void backward_group(const float *q, const float *k,
                                                                 const float *v, const float *o,
                                                                 const float *lse, const float *go, float *gq,
                                                                 float *gk, float *gv, int n, int m, int d) {
    static const float ones[ROWS] = {1, 1, 1, 1};
    keys kt, vt, gkt, gvt;
    rows p, gs;
    transpose(k, m, d, kt);
    transpose(v, m, d, vt);
    memset(gkt, 0, sizeof gkt);
    memset(gvt, 0, sizeof gvt);
    for (int i = 0; i < n; i += ROWS) {
        const float *qi = q + (size_t)i * d, *gi = go + (size_t)i * d, *oi = o + (size_t)i * d;
        times_keys(qi, kt, m, d, p);
        times_keys(gi, vt, m, d, gs);
        for (int r = 0; r < ROWS; r++) {
            float delta = 0;
            for (int c = 0; c < d; c++)
                delta += gi[r * d + c] * oi[r * d + c];
            for (int j = 0; j < m; j++) {
                p[r][j] = expf(p[r][j] - lse[i + r]);
                gs[r][j] = p[r][j] * (gs[r][j] - delta);
            }
        }
        sum_keys(gs, kt, m, d, ones, gq + (size_t)i * d);
        add_outer(gs, qi, m, d, gkt);
        add_outer(p, gi, m, d, gvt);
    }
    for (int j = 0; j < m; j++)
        for (int c = 0; c < d; c++) {
            gk[(size_t)j * d + c] = gkt[c][j];
            gv[(size_t)j * d + c] = gvt[c][j];
        }
}

// A width known to the compiler lets it unroll the loop over channels.
#define FOR_WIDTH(call, d) ((d) == 8 ? call(8) : (d) == 12 ? call(12) : (d) == 16 ? call(16) : call(d))

void attention_forward(const float *q, const float *k, const float *v, float *o, float *lse, int groups,
                       int n, int m, int d) {
#pragma omp parallel for
    for (int g = 0; g < groups; g++) {
        const size_t a = (size_t)g * n * d, b = (size_t)g * m * d;
#define CALL(D) forward_group(q + a, k + b, v + b, o + a, lse + (size_t)g * n, n, m, D)
        FOR_WIDTH(CALL, d);
#undef CALL
    }
}

void attention_backward(const float *q, const float *k, const float *v, const float *o, const float *lse,
                        const float *go, float *gq, float *gk, float *gv, int groups, int n, int m, int d) {
#pragma omp parallel for
    for (int g = 0; g < groups; g++) {
        const size_t a = (size_t)g * n * d, b = (size_t)g * m * d;
#define CALL(D) \
    backward_group(q + a, k + b, v + b, o + a, lse + (size_t)g * n, go + a, gq + a, gk + b, gv + b, n, m, D)
        FOR_WIDTH(CALL, d);
#undef CALL
    }
}
