/* Products of register tiles; part of kernels_impl.h, included once for each kind of operand. The includer
 * defines TILES, the name; OPERAND, what a factor is; TILE_LOAD(p) a vector of VW operands; TILE_SET(x) one
 * operand in all lanes; TILE_MAC(x, w, s) the vector of floats s + x w. */

/* C[rows][vecs VW] (+)= A[rows][depth] B[depth][vecs VW], rows <= TILE_ROWS, vecs <= TILE_VECS. Rows of A and
 * C are a_stride and c_stride apart; row k, vector v of B is at b + k b_step + v b_stride. Inlined with
 * constant `rows` and `vecs`, so that all sums stay in registers. */
static inline __attribute__((always_inline)) void
TILES_ONE(TILES)(const int rows, const int vecs, int depth, const OPERAND *a, int64_t a_stride,
                 const OPERAND *b, int64_t b_step, int64_t b_stride, float *c, int64_t c_stride, bool add) {
    vf s[TILE_ROWS][TILE_VECS];
    for (int r = 0; r < rows; r++) {
        for (int v = 0; v < vecs; v++) {
            s[r][v] = add ? vf_load(c + r * c_stride + v * VW) : vf_set(0.0f);
        }
    }
    for (int first = 0; first < depth; first += 16) {
        int last = first + 16 < depth ? first + 16 : depth;
        for (int r = 0; r < rows; r++) { /* a cache line of each of the next tile's rows */
            __builtin_prefetch(a + (rows + r) * a_stride + first);
        }
        for (int k = first; k < last; k++) {
            TILE_VECTOR w[TILE_VECS];
            for (int v = 0; v < vecs; v++) {
                w[v] = TILE_LOAD(b + k * b_step + v * b_stride);
            }
            for (int r = 0; r < rows; r++) {
                TILE_VECTOR x = TILE_SET(a[r * a_stride + k]);
                for (int v = 0; v < vecs; v++) {
                    s[r][v] = TILE_MAC(x, w[v], s[r][v]);
                }
            }
        }
    }
    for (int r = 0; r < rows; r++) {
        for (int v = 0; v < vecs; v++) {
            vf_store(c + r * c_stride + v * VW, s[r][v]);
        }
    }
}

#define TILES_CASE(vecs)                                                                              \
    if (rows > 4 && TILE_ROWS > 4) {                                                                  \
        TILES_ONE(TILES)(TILE_ROWS, vecs, depth, a, a_stride, b, b_step, b_stride, c, c_stride, add); \
    } else if (rows > 2) {                                                                            \
        TILES_ONE(TILES)(4, vecs, depth, a, a_stride, b, b_step, b_stride, c, c_stride, add);         \
    } else {                                                                                          \
        TILES_ONE(TILES)(2, vecs, depth, a, a_stride, b, b_step, b_stride, c, c_stride, add);         \
    }

/* `rows` rounded up to 2, 4 or TILE_ROWS: A and C must have room for them. */
static void TILES(int rows, int vecs, int depth, const OPERAND *a, int64_t a_stride, const OPERAND *b,
                  int64_t b_step, int64_t b_stride, float *c, int64_t c_stride, bool add) {
    switch (vecs) {
    case 1:
        TILES_CASE(1)
        break;
    case 2:
        TILES_CASE(2)
        break;
    case 3:
        TILES_CASE((TILE_VECS < 3 ? TILE_VECS : 3))
        break;
    default:
        TILES_CASE(TILE_VECS)
    }
}
#undef TILES_CASE
