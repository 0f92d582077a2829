/* Attention for one element type; part of kernels_impl.h, included once for each type T. Arithmetic is F32.
 *
 * Keys are packed into panels of VW keys, [panel][head_dim][VW], so that a vector holds one channel of VW
 * keys; values into panels of VW channels, [panel][key][VW]. A task is ATT_ROWS query rows of one head. It
 * walks over the keys in blocks of ATT_KEYS, keeping the running maximum, the running sum and the unscaled
 * output of each row (the online softmax of Milakov and Gimelshein, blocked as in FlashAttention), so no more
 * than ATT_ROWS x ATT_KEYS scores exist. Rows and keys are padded with zeros to whole tiles; padded keys get
 * weight 0. */
#ifndef ATT_KEYS
#define ATT_KEYS 256
#define ATT_ROWS (8 * TILE_ROWS)

static inline int64_t up_to(int64_t n, int64_t to) {
    return (n + to - 1) / to * to;
}
/* floats of the packed keys, and of the packed values, of one head */
static inline int64_t keys_size(const bl_attention_job *a) {
    return up_to(a->k_rows, VW) * a->head_dim;
}
static inline int64_t values_size(const bl_attention_job *a) {
    return up_to(a->k_rows, VW) * up_to(a->head_dim, VW);
}

/* Turns scores [keys] of a row into weights in place. `limit`: keys that the row may see. The running maximum
 * and sum are updated; returns what the output so far must be multiplied with. */
static inline float softmax_row(float *s, int keys, int limit, float scale, float *highest, float *sum) {
    limit = limit < 0 ? 0 : limit > keys ? keys : limit;
    int whole = limit / VW * VW;
    vf top = vf_set(*highest);
    for (int i = 0; i < whole; i += VW) {
        top = vf_max(top, vf_load(s + i));
    }
    float most = vf_highest(top);
    for (int i = whole; i < limit; i++) {
        most = s[i] > most ? s[i] : most;
    }
    vf base = vf_set(-most * scale), factor = vf_set(scale), total = vf_set(0.0f);
    for (int i = 0; i < whole; i += VW) {
        vf e = exp2_of(vf_fma(vf_load(s + i), factor, base));
        total = vf_add(total, e);
        vf_store(s + i, e);
    }
    if (whole < limit) {
        float part[VW];
        vf_store(part, exp2_of(vf_fma(vf_load_part(s + whole, limit - whole), factor, base)));
        for (int i = limit - whole; i < VW; i++) {
            part[i] = 0.0f;
        }
        vf_store(s + whole, vf_load(part));
        total = vf_add(total, vf_load(part));
        whole += VW;
    }
    for (int i = whole; i < up_to(keys, VW); i += VW) {
        vf_store(s + i, vf_set(0.0f));
    }
    float before[VW];
    vf_store(before, exp2_of(vf_set((*highest - most) * scale)));
    *sum = *sum * before[0] + vf_sum(total);
    *highest = most;
    return before[0];
}
#endif

static int64_t NAME(pack_items)(const bl_attention_job *a) {
    return a->heads * (up_to(a->k_rows, VW) / VW);
}

static int64_t NAME(items)(const bl_attention_job *a) {
    return a->heads * (up_to(a->q_rows, ATT_ROWS) / ATT_ROWS);
}

static uint64_t NAME(packed)(const bl_attention_job *a) {
    return (uint64_t)(a->heads * (keys_size(a) + values_size(a))) * sizeof(float);
}

static uint64_t NAME(scratch)(const bl_attention_job *a) {
    return (uint64_t)(ATT_ROWS * (a->head_dim + ATT_KEYS + up_to(a->head_dim, VW))) * sizeof(float);
}

static void NAME(pack)(const bl_attention_job *a, int64_t begin, int64_t end) {
    int panels = (int)(up_to(a->k_rows, VW) / VW), dim = a->head_dim;
    for (int64_t item = begin; item < end; item++) {
        int64_t head = item / panels, panel = item % panels;
        float *keys = (float *)a->packed + head * keys_size(a) + panel * VW * dim; /* [dim][VW] */
        float *values = (float *)a->packed + a->heads * keys_size(a) + head * values_size(a);
        int64_t key_rows = up_to(a->k_rows, VW);
        for (int64_t j = panel * VW; j < panel * VW + VW; j++) {
            const T *k = (const T *)a->k + j * a->k_stride + head * dim;
            const T *v = (const T *)a->v + j * a->v_stride + head * dim;
            bool real = j < a->k_rows;
            for (int d = 0; d < dim; d++) {
                keys[(int64_t)d * VW + j % VW] = real ? NAME(one)(k[d]) : 0.0f;
            }
            for (int d = 0; d < dim; d += VW) {
                vf x = !real ? vf_set(0.0f) : d + VW <= dim ? LOAD(v + d) : LOAD_PART(v + d, dim - d);
                vf_store(values + d * key_rows + j * VW, x);
            }
        }
    }
}

/* One task: rows [first, first + rows) of a head. scratch: query [ATT_ROWS][dim], scores
 * [ATT_ROWS][ATT_KEYS], output [ATT_ROWS][padded dim]. */
static void NAME(task)(const bl_attention_job *a, int64_t head, int64_t first, int rows, float *scratch) {
    int dim = a->head_dim, wide = (int)up_to(dim, VW);
    float *query = scratch, *score = query + ATT_ROWS * dim, *out = score + ATT_ROWS * ATT_KEYS;
    const float *keys = (const float *)a->packed + head * keys_size(a);
    const float *values = (const float *)a->packed + a->heads * keys_size(a) + head * values_size(a);
    int64_t key_rows = up_to(a->k_rows, VW);
    float highest[ATT_ROWS], sum[ATT_ROWS], scale = a->scale * 1.44269504f;
    int padded = (int)up_to(rows, TILE_ROWS);
    for (int r = 0; r < padded; r++) {
        if (r < rows) {
            NAME(to_f32)(query + r * dim, (const T *)a->q + (first + r) * a->q_stride + head * dim, dim);
        } else {
            memset(query + r * dim, 0, (size_t)dim * sizeof *query);
        }
        memset(out + r * wide, 0, (size_t)wide * sizeof *out);
        highest[r] = -1e30f; /* below any score that means something; -inf would make inf - inf */
        sum[r] = 0.0f;
    }
    int64_t seen = a->causal && first + rows < a->k_rows ? first + rows : a->k_rows;
    for (int64_t j = 0; j < seen; j += ATT_KEYS) {
        int keys_here = (int)(seen - j < ATT_KEYS ? seen - j : ATT_KEYS);
        int vecs = (keys_here + VW - 1) / VW;
        for (int v = 0; v < vecs; v += TILE_VECS) {
            int take = vecs - v < TILE_VECS ? vecs - v : TILE_VECS;
            for (int r = 0; r < padded; r += TILE_ROWS) {
                tiles_f32(take, dim, query + r * dim, dim, keys + (j / VW + v) * VW * dim, (int64_t)VW * dim,
                          score + r * ATT_KEYS + v * VW, ATT_KEYS, false);
            }
        }
        for (int r = 0; r < padded; r++) {
            int limit = a->causal && r < rows
                            ? (int)(first + r + 1 - j < keys_here ? first + r + 1 - j : keys_here)
                            : keys_here;
            float before = softmax_row(score + r * ATT_KEYS, keys_here, limit, scale, &highest[r], &sum[r]);
            for (int d = 0; d < wide && before != 1.0f; d += VW) {
                vf_store(out + r * wide + d, vf_mul(vf_load(out + r * wide + d), vf_set(before)));
            }
        }
        for (int v = 0; v < wide / VW; v += TILE_VECS) {
            int take = wide / VW - v < TILE_VECS ? wide / VW - v : TILE_VECS;
            for (int r = 0; r < padded; r += TILE_ROWS) {
                tiles_f32(take, vecs * VW, score + r * ATT_KEYS, ATT_KEYS, values + (v * key_rows + j) * VW,
                          key_rows * VW, out + r * wide + v * VW, wide, true);
            }
        }
    }
    for (int r = 0; r < rows; r++) {
        T *y = (T *)a->y + (first + r) * a->y_stride + head * dim;
        vf inverse = vf_set(1.0f / sum[r]);
        for (int d = 0; d < dim; d += VW) {
            vf x = vf_mul(vf_load(out + r * wide + d), inverse);
            if (d + VW <= dim) {
                STORE(y + d, x);
            } else {
                STORE_PART(y + d, x, dim - d);
            }
        }
    }
}

static void NAME(attention)(const bl_attention_job *a, int64_t begin, int64_t end, void *scratch) {
    int64_t blocks = up_to(a->q_rows, ATT_ROWS) / ATT_ROWS;
    for (int64_t item = begin; item < end; item++) {
        int64_t first = item % blocks * ATT_ROWS;
        int rows = (int)(a->q_rows - first < ATT_ROWS ? a->q_rows - first : ATT_ROWS);
        NAME(task)(a, item / blocks, first, rows, scratch);
    }
}
