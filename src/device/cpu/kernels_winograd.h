/* Winograd's F(4x4, 3x3) for one element type; part of kernels_impl.h, included once for each type T.
 *
 * y = A^T [ (G g G^T) * (B^T d B) ] A for each 4x4 tile of the output (Lavin and Gray, "Fast Algorithms for
 * Convolutional Neural Networks"), with the interpolation points 0, +-3/4, +-3/2 and infinity in place of the
 * usual 0, +-1, +-2: all constants but the filter's are exact, and the largest error over random data is 4
 * times smaller, 1.5 times that of a plain F32 convolution. */
#ifndef WINO_A
#define WINO_A 0.75f
#define WINO_B 1.5f
#define WINO_AHEAD 16 /* input channels, or pairs of them, that weights are fetched ahead */
#define WINO_A2 (WINO_A * WINO_A)
#define WINO_B2 (WINO_B * WINO_B)

/* 36 planes lie this many floats apart: not a power of two, or all would fall into the same sets of the
 * caches. */
static inline int64_t wino_input_step(const bl_winograd_job *j) {
    return (int64_t)j->batch * up_to(j->c, 16) + 16;
}
static inline int64_t wino_filter_step(const bl_winograd_job *j) {
    return (int64_t)j->group * j->depth + 16;
}
static inline int64_t wino_output_step(const bl_winograd_job *j) {
    return (int64_t)j->strip * j->group + 16;
}

/* t = B^T d */
static inline void wino_in(vf *t, vf d0, vf d1, vf d2, vf d3, vf d4, vf d5) {
    const vf product = vf_set(WINO_A2 * WINO_B2), sum = vf_set(-(WINO_A2 + WINO_B2));
    t[0] = vf_fma(product, d0, vf_fma(sum, d2, d4));
    t[5] = vf_fma(product, d1, vf_fma(sum, d3, d5));
    vf e = vf_fma(vf_set(-WINO_B2), d2, d4), o = vf_fma(vf_set(-WINO_B2), d1, d3);
    t[1] = vf_fma(vf_set(WINO_A), o, e);
    t[2] = vf_fma(vf_set(-WINO_A), o, e);
    e = vf_fma(vf_set(-WINO_A2), d2, d4);
    o = vf_fma(vf_set(-WINO_A2), d1, d3);
    t[3] = vf_fma(vf_set(WINO_B), o, e);
    t[4] = vf_fma(vf_set(-WINO_B), o, e);
}

/* t = G g */
static inline void wino_filter(vf *t, vf g0, vf g1, vf g2) {
    const float na = 1.0f / (2.0f * WINO_A2 * (WINO_A2 - WINO_B2)),
                nb = 1.0f / (2.0f * WINO_B2 * (WINO_B2 - WINO_A2));
    t[0] = vf_mul(g0, vf_set(1.0f / (WINO_A2 * WINO_B2)));
    t[5] = g2;
    vf e = vf_mul(vf_fma(vf_set(WINO_A2), g2, g0), vf_set(na)), o = vf_mul(g1, vf_set(WINO_A * na));
    t[1] = vf_add(e, o);
    t[2] = vf_sub(e, o);
    e = vf_mul(vf_fma(vf_set(WINO_B2), g2, g0), vf_set(nb));
    o = vf_mul(g1, vf_set(WINO_B * nb));
    t[3] = vf_add(e, o);
    t[4] = vf_sub(e, o);
}

/* y = A^T m */
static inline void wino_out(vf *y, vf m0, vf m1, vf m2, vf m3, vf m4, vf m5) {
    vf sa = vf_add(m1, m2), da = vf_sub(m1, m2), sb = vf_add(m3, m4), db = vf_sub(m3, m4);
    y[0] = vf_add(vf_add(m0, sa), sb);
    y[1] = vf_fma(vf_set(WINO_A), da, vf_mul(vf_set(WINO_B), db));
    y[2] = vf_fma(vf_set(WINO_A2), sa, vf_mul(vf_set(WINO_B2), sb));
    y[3] = vf_add(vf_fma(vf_set(WINO_A2 * WINO_A), da, vf_mul(vf_set(WINO_B2 * WINO_B), db)), m5);
}

typedef struct wino_place {
    int64_t image;
    int row, column; /* of the tile's first output */
} wino_place;

static inline wino_place wino_where(const bl_winograd_job *j, int64_t tile) {
    int across = (j->ow + 3) / 4, down = (j->oh + 3) / 4;
    int64_t image = tile / (across * down);
    int rest = (int)(tile % (across * down));
    return (wino_place){image, rest / across * 4, rest % across * 4};
}
#endif

static void NAME(winograd_input)(const bl_winograd_job *j, int64_t begin, int64_t end) {
    int64_t step = wino_input_step(j);
    for (int64_t tile = begin; tile < end; tile++) {
        wino_place at = wino_where(j, j->tile + tile);
        const T *from[36];
        for (int k = 0; k < 36; k++) {
            int y = at.row - j->top + k / 6, x = at.column - j->left + k % 6;
            bool inside = y >= 0 && y < j->h && x >= 0 && x < j->w;
            from[k] =
                inside ? (const T *)j->x + ((at.image * j->h + y) * j->w + x) * j->c : (const T *)j->zeros;
        }
        float *to = j->input + tile * up_to(j->c, 16);
        for (int c = 0; c < j->c; c += VW) {
            int lanes = j->c - c < VW ? j->c - c : VW;
            vf rows[36], all[36];
            for (int y = 0; y < 6; y++) {
                vf d[6];
                for (int x = 0; x < 6; x++) {
                    const T *p = from[y * 6 + x] + c;
                    d[x] = lanes == VW ? LOAD(p) : LOAD_PART(p, lanes);
                }
                wino_in(rows + y * 6, d[0], d[1], d[2], d[3], d[4], d[5]);
            }
            for (int x = 0; x < 6; x++) {
                wino_in(all + x * 6, rows[x], rows[6 + x], rows[12 + x], rows[18 + x], rows[24 + x],
                        rows[30 + x]);
                for (int y = 0; y < 6; y++) { /* part of a vector goes into the row's own padding */
                    vf_store(to + (y * 6 + x) * step + c, all[x * 6 + y]);
                }
            }
        }
    }
}

/* VW output channels of one tap of the filter of an input channel; `odd`: it is the second of a pair. */
static inline vf NAME(wino_tap)(const T *w, int64_t tap, bool pairs, int odd) {
    return pairs ? LOAD_PAIR(w + tap, odd) : LOAD(w + tap);
}

/* Transforms the filters of input channels [in, in + ins) of the group. */
static inline __attribute__((always_inline)) void NAME(wino_filters_of)(const bl_winograd_job *j,
                                                                        bool pairs) {
    int64_t step = wino_filter_step(j), tap = j->filter_tap;
    int width = pairs ? 2 : 1; /* elements that lie together for one output channel */
    for (int o = 0; o < j->outs; o += VW) {
        int out = j->out + o;
        const T *all =
            (const T *)j->weights + out / j->filter_outs * j->filter_block + out % j->filter_outs * width;
        float *to = j->filter + (int64_t)(o / VW) * j->depth * VW;
        for (int i = j->in; i < j->in + j->ins; i++, to += VW) {
            const T *w = all + i / width * j->filter_in;
            int odd = i % width;
            for (int k = 0; k < 9; k++) { /* the weights come from memory, and each just once */
                __builtin_prefetch(w + WINO_AHEAD * j->filter_in + k * tap);
            }
            vf columns[18], u[6];
            for (int x = 0; x < 3; x++) {
                wino_filter(columns + x * 6, NAME(wino_tap)(w, x * tap, pairs, odd),
                            NAME(wino_tap)(w, (3 + x) * tap, pairs, odd),
                            NAME(wino_tap)(w, (6 + x) * tap, pairs, odd));
            }
            for (int y = 0; y < 6; y++) {
                wino_filter(u, columns[y], columns[6 + y], columns[12 + y]);
                for (int x = 0; x < 6; x++) {
                    vf_store(to + (y * 6 + x) * step, u[x]);
                }
            }
        }
    }
}

static void NAME(wino_filters)(const bl_winograd_job *j) {
    if (j->filter_pairs) {
        NAME(wino_filters_of)(j, true);
    } else {
        NAME(wino_filters_of)(j, false);
    }
}

static inline void NAME(wino_write)(const bl_winograd_job *j, int64_t tile) {
    int64_t step = wino_output_step(j);
    wino_place at = wino_where(j, j->tile + j->first + tile);
    int rows = j->oh - at.row < 4 ? j->oh - at.row : 4,
        columns = j->ow - at.column < 4 ? j->ow - at.column : 4;
    int outs = j->outs;
    int64_t down = (j->oh - 1) / j->stride + 1, across = (j->ow - 1) / j->stride + 1;
    int64_t first = ((at.image * down + at.row / j->stride) * across + at.column / j->stride) * j->o + j->out;
    for (int o = 0; o < outs; o += VW) {
        int lanes = outs - o < VW ? outs - o : VW;
        const float *from = j->output + tile * j->group + o;
        vf half[24], y[16];
        for (int x = 0; x < 6; x++) {
            wino_out(half + x * 4, vf_load(from + x * step), vf_load(from + (6 + x) * step),
                     vf_load(from + (12 + x) * step), vf_load(from + (18 + x) * step),
                     vf_load(from + (24 + x) * step), vf_load(from + (30 + x) * step));
        }
        for (int r = 0; r < 4; r++) {
            wino_out(y + r * 4, half[r], half[4 + r], half[8 + r], half[12 + r], half[16 + r], half[20 + r]);
        }
        const float *b = j->bias ? j->bias + at.image * j->bias_stride + j->out + o : NULL;
        vf bias = !b ? vf_set(0.0f) : lanes == VW ? vf_load(b) : vf_load_part(b, lanes);
        for (int r = 0; r < rows; r += j->stride) {
            for (int c = 0; c < columns; c += j->stride) {
                int64_t place = first + (r / j->stride * across + c / j->stride) * j->o + o;
                T *to = (T *)j->y + place;
                vf v = vf_add(y[r * 4 + c], bias);
                if (j->residual) {
                    const T *p = (const T *)j->residual + place;
                    v = vf_add(v, lanes == VW ? LOAD(p) : LOAD_PART(p, lanes));
                }
                if (lanes == VW) {
                    STORE(to, v);
                } else {
                    STORE_PART(to, v, lanes);
                }
            }
        }
    }
}

/* Products of the 36 planes for the tiles, group and slice that j says. */
static inline void NAME(wino_products)(const bl_winograd_job *j) {
    int64_t in_step = wino_input_step(j), filter_step = wino_filter_step(j), out_step = wino_output_step(j);
    int64_t row = up_to(j->c, 16);
    int vecs = (int)up_to(j->outs, 16) / VW;
    for (int k = 0; k < 36; k++) {
        const float *a = j->input + k * in_step + j->first * row + j->in, *b = j->filter + k * filter_step;
        float *c = j->output + k * out_step;
        for (int v = 0; v < vecs; v += TILE_VECS) {
            int take = vecs - v < TILE_VECS ? vecs - v : TILE_VECS;
            for (int r = 0; r < j->tiles; r += TILE_ROWS) {
                tiles_f32(j->tiles - r, take, j->ins, a + r * row, row, b + (int64_t)v * j->depth * VW, VW,
                          (int64_t)j->depth * VW, c + (int64_t)r * j->group + v * VW, j->group, j->in > 0);
            }
        }
    }
}

static inline void NAME(wino_enter_group)(bl_winograd_job *j, int group) {
    j->out = group * j->group;
    j->outs = j->o - j->out < j->group ? j->o - j->out : j->group;
}

static void NAME(winograd_run)(const bl_winograd_job *job, int64_t begin, int64_t end, void *scratch) {
    bl_winograd_job j = *job;
    j.filter = scratch;
    j.output = j.filter + 36 * wino_filter_step(&j);
    for (int64_t task = begin; task < end; task++) {
        NAME(wino_enter_group)(&j, (int)(task / j.strips));
        j.first = (int)(task % j.strips) * j.strip;
        j.tiles = job->tiles - j.first < j.strip ? job->tiles - j.first : j.strip;
        for (j.in = 0; j.in < j.c && j.tiles > 0; j.in += j.depth) {
            j.ins = j.c - j.in < j.depth ? j.c - j.in : j.depth;
            NAME(wino_filters)(&j);
            NAME(wino_products)(&j);
        }
        for (int tile = 0; tile < j.tiles; tile++) {
            NAME(wino_write)(&j, tile);
        }
    }
}

static void NAME(winograd_filters)(const bl_winograd_job *job, int64_t begin, int64_t end) {
    bl_winograd_job j = *job;
    j.ins = j.c;
    for (int64_t group = begin; group < end; group++) {
        j.filter = j.kept + group * 36 * wino_filter_step(&j);
        NAME(wino_enter_group)(&j, (int)group);
        NAME(wino_filters)(&j);
    }
}

static void NAME(winograd_blocks)(const bl_winograd_job *job, int64_t begin, int64_t end, void *scratch) {
    bl_winograd_job j = *job;
    j.batch = j.strip;
    j.ins = j.c;
    j.input = scratch;
    j.output = j.input + 36 * wino_input_step(&j);
    for (int64_t block = begin; block < end; block++) {
        j.tile = block * j.strip;
        j.tiles = job->tiles - j.tile < j.strip ? (int)(job->tiles - j.tile) : j.strip;
        NAME(winograd_input)(&j, 0, j.tiles);
        for (int group = 0; group * j.group < j.o; group++) {
            j.filter = j.kept + (int64_t)group * 36 * wino_filter_step(&j);
            NAME(wino_enter_group)(&j, group);
            NAME(wino_products)(&j);
            for (int tile = 0; tile < j.tiles; tile++) {
                NAME(wino_write)(&j, tile);
            }
        }
    }
}
