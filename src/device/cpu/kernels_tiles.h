/* Products of register tiles; part of kernels_impl.h, included once for each kind of operand. The includer
 * defines TILES, the name; OPERAND, what a factor is; TILE_LOAD(p) a vector of VW operands; TILE_SET(x) one
 * operand in all lanes; TILE_MAC(x, w, s) the vector of floats s + x w. */

/* C[TILE_ROWS][vecs VW] (+)= A[TILE_ROWS][depth] B[depth][vecs VW], vecs <= TILE_VECS. Rows of A and C are
 * a_stride and c_stride apart; row k, vector v of B is at b + k VW + v b_stride. Inlined with constant
 * `vecs`, so that all sums stay in registers. */
static inline __attribute__((always_inline)) void TILES_ONE(TILES)(const int vecs, int depth,
                                                                   const OPERAND *a, int64_t a_stride,
                                                                   const OPERAND *b, int64_t b_stride,
                                                                   float *c, int64_t c_stride, bool add) {
    vf s[TILE_ROWS][TILE_VECS];
    for (int r = 0; r < TILE_ROWS; r++) {
        for (int v = 0; v < vecs; v++) {
            s[r][v] = add ? vf_load(c + r * c_stride + v * VW) : vf_set(0.0f);
        }
    }
    for (int k = 0; k < depth; k++) {
        TILE_VECTOR w[TILE_VECS];
        for (int v = 0; v < vecs; v++) {
            w[v] = TILE_LOAD(b + (int64_t)k * VW + v * b_stride);
        }
        for (int r = 0; r < TILE_ROWS; r++) {
            TILE_VECTOR x = TILE_SET(a[r * a_stride + k]);
            for (int v = 0; v < vecs; v++) {
                s[r][v] = TILE_MAC(x, w[v], s[r][v]);
            }
        }
    }
    for (int r = 0; r < TILE_ROWS; r++) {
        for (int v = 0; v < vecs; v++) {
            vf_store(c + r * c_stride + v * VW, s[r][v]);
        }
    }
}

static void TILES(int vecs, int depth, const OPERAND *a, int64_t a_stride, const OPERAND *b, int64_t b_stride,
                  float *c, int64_t c_stride, bool add) {
    switch (vecs) {
    case 1:
        TILES_ONE(TILES)(1, depth, a, a_stride, b, b_stride, c, c_stride, add);
        break;
    case 2:
        TILES_ONE(TILES)(2, depth, a, a_stride, b, b_stride, c, c_stride, add);
        break;
    case 3:
        TILES_ONE(TILES)(TILE_VECS < 3 ? TILE_VECS : 3, depth, a, a_stride, b, b_stride, c, c_stride, add);
        break;
    default:
        TILES_ONE(TILES)(TILE_VECS, depth, a, a_stride, b, b_stride, c, c_stride, add);
    }
}
