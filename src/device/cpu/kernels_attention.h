/* Attention; part of kernels_impl.h, included once for each way to do it. The includer defines, beside T and
 * what belongs to it: ATT(f)        the names of this variant OPERAND, PER  what a factor of a product is: a
 * float (PER 1), or two bf16 side by side (PER 2) OPERAND_OF(p, n)  the operand made of the first n (1 ..
 * PER) elements at p TILES         the product of a register tile of such operands EXP2          2^x, as good
 * as the operands need it STORE_WEIGHTS(row, i, x)  puts the vector x of weights at operands i / PER .. of a
 * row
 *
 * Keys are packed into panels of VW keys, [panel][head_dim / PER][VW] operands, so that a vector holds one
 * channel (or two) of VW keys; values into panels of VW channels, [panel][key / PER][VW]. A task is ATT_ROWS
 * query rows of one head. It walks over the keys in blocks of ATT_KEYS, keeping the running maximum, the
 * running sum and the unscaled output of each row (the online softmax of Milakov and Gimelshein, blocked as
 * in FlashAttention), so no more than ATT_ROWS x ATT_KEYS scores exist. Rows and keys are padded with zeros
 * to whole tiles; padded keys get weight 0. */
#ifndef ATT_KEYS
#define UNUSED __attribute__((unused)) /* a table may have a better way for one of the types */
#define ATT_KEYS 256
#define ATT_ROWS (8 * TILE_ROWS)
#define KEY_STEP (VW > 2 ? VW : 2) /* keys are padded to whole vectors and whole pairs */

static inline int64_t up_to(int64_t n, int64_t to) {
    return (n + to - 1) / to * to;
}
#endif

/* operands of a row of keys; of the packed keys, and of the packed values, of one head */
static inline int ATT(depth)(const bl_attention_job *a) {
    return (a->head_dim + PER - 1) / PER;
}
static inline int64_t ATT(keys_size)(const bl_attention_job *a) {
    return up_to(a->k_rows, KEY_STEP) * ATT(depth)(a);
}
static inline int64_t ATT(values_size)(const bl_attention_job *a) {
    return up_to(a->k_rows, KEY_STEP) / PER * up_to(a->head_dim, VW);
}

static UNUSED int64_t ATT(pack_items)(const bl_attention_job *a) {
    return a->heads * (up_to(a->k_rows, KEY_STEP) / KEY_STEP);
}

static UNUSED int64_t ATT(items)(const bl_attention_job *a) {
    return a->heads * (up_to(a->q_rows, ATT_ROWS) / ATT_ROWS);
}

static UNUSED uint64_t ATT(packed)(const bl_attention_job *a) {
    return (uint64_t)(a->heads * (ATT(keys_size)(a) + ATT(values_size)(a))) * sizeof(OPERAND);
}

static UNUSED uint64_t ATT(scratch)(const bl_attention_job *a) {
    return (uint64_t)(ATT_ROWS * (ATT(depth)(a) + ATT_KEYS + up_to(a->head_dim, VW))) * sizeof(float);
}

/* An item is KEY_STEP keys of a head. */
static UNUSED void ATT(pack)(const bl_attention_job *a, int64_t begin, int64_t end) {
    int64_t steps = up_to(a->k_rows, KEY_STEP) / KEY_STEP, rows = steps * KEY_STEP;
    int dim = a->head_dim, depth = ATT(depth)(a);
    for (int64_t item = begin; item < end; item++) {
        int64_t head = item / steps, first = item % steps * KEY_STEP;
        OPERAND *keys = (OPERAND *)a->packed + head * ATT(keys_size)(a);
        OPERAND *values = (OPERAND *)a->packed + a->heads * ATT(keys_size)(a) + head * ATT(values_size)(a);
        for (int64_t j = first; j < first + KEY_STEP; j++) {
            const T *k = (const T *)a->k + j * a->k_stride + head * dim;
            OPERAND *to = keys + j / VW * VW * depth + j % VW;
            for (int d = 0; d < depth; d++) {
                int n = dim - d * PER < PER ? dim - d * PER : PER;
                to[(int64_t)d * VW] = j < a->k_rows ? OPERAND_OF(k + d * PER, n) : 0;
            }
        }
        for (int64_t j = first; j < first + KEY_STEP; j += PER) {
            const T *v = (const T *)a->v + j * a->v_stride + head * dim;
            OPERAND *to = values + j / PER * VW;
            for (int d = 0; d < (int)up_to(dim, VW); d++) {
                T pair[2] = {0, 0};
                for (int i = 0; i < PER && d < dim && j + i < a->k_rows; i++) {
                    pair[i] = v[i * a->v_stride + d];
                }
                to[d / VW * (rows / PER * VW) + d % VW] = OPERAND_OF(pair, PER);
            }
        }
    }
}

/* Turns scores [keys] of a row into weights in place. `limit`: keys that the row may see. The running maximum
 * and sum are updated; returns what the output so far must be multiplied with. */
static inline float ATT(softmax)(float *s, int keys, int limit, float scale, float *highest, float *sum) {
    limit = limit < 0 ? 0 : limit > keys ? keys : limit;
    int whole = limit / VW * VW;
    vf top = vf_set(*highest), top2 = top; /* two chains, because each step waits for the one before */
    for (int i = 0; i + VW < whole; i += 2 * VW) {
        top = vf_max(vf_load(s + i), top);
        top2 = vf_max(vf_load(s + i + VW), top2);
    }
    if (whole / VW % 2) {
        top = vf_max(vf_load(s + whole - VW), top);
    }
    float most = vf_highest(vf_max(top, top2));
    for (int i = whole; i < limit; i++) {
        most = s[i] > most ? s[i] : most;
    }
    vf base = vf_set(-most * scale), factor = vf_set(scale), total = vf_set(0.0f);
    for (int i = 0; i < whole; i += VW) {
        vf e = EXP2(vf_fma(vf_load(s + i), factor, base));
        total = vf_add(total, e);
        STORE_WEIGHTS(s, i, e);
    }
    if (whole < limit) {
        float part[VW];
        vf_store(part, EXP2(vf_fma(vf_load_part(s + whole, limit - whole), factor, base)));
        for (int i = limit - whole; i < VW; i++) {
            part[i] = 0.0f;
        }
        STORE_WEIGHTS(s, whole, vf_load(part));
        total = vf_add(total, vf_load(part));
        whole += VW;
    }
    for (int i = whole; i < up_to(keys, KEY_STEP); i += VW) {
        STORE_WEIGHTS(s, i, vf_set(0.0f));
    }
    float before[VW];
    vf_store(before, exp2_of(vf_set((*highest - most) * scale)));
    *sum = *sum * before[0] + vf_sum(total);
    *highest = most;
    return before[0];
}

/* Keys [j, j + count) for `rows` rows (whole tiles): scores, weights, and their part of the output. */
static inline void ATT(block)(const bl_attention_job *a, int64_t head, int64_t first, int rows, int64_t j,
                              int count, const OPERAND *query, float *score, float *out, float *highest,
                              float *sum) {
    int depth = ATT(depth)(a), wide = (int)up_to(a->head_dim, VW), vecs = (int)up_to(count, KEY_STEP) / VW;
    int64_t key_rows = up_to(a->k_rows, KEY_STEP) / PER;
    const OPERAND *keys = (const OPERAND *)a->packed + head * ATT(keys_size)(a);
    const OPERAND *values =
        (const OPERAND *)a->packed + a->heads * ATT(keys_size)(a) + head * ATT(values_size)(a);
    float scale = a->scale * 1.44269504f;
    for (int v = 0; v < vecs; v += TILE_VECS) {
        int take = vecs - v < TILE_VECS ? vecs - v : TILE_VECS;
        for (int r = 0; r < rows; r += TILE_ROWS) {
            TILES(TILE_ROWS, take, depth, query + r * depth, depth, keys + (j / VW + v) * VW * depth,
                  (int64_t)VW * depth, score + r * ATT_KEYS + v * VW, ATT_KEYS, false);
        }
    }
    for (int r = 0; r < rows; r++) {
        int64_t seen = a->causal ? first + r + 1 - j : count;
        float before = ATT(softmax)(score + r * ATT_KEYS, count, (int)(seen < count ? seen : count), scale,
                                    &highest[r], &sum[r]);
        for (int d = 0; d < wide && before != 1.0f; d += VW) {
            vf_store(out + r * wide + d, vf_mul(vf_load(out + r * wide + d), vf_set(before)));
        }
    }
    for (int v = 0; v < wide / VW; v += TILE_VECS) {
        int take = wide / VW - v < TILE_VECS ? wide / VW - v : TILE_VECS;
        for (int r = 0; r < rows; r += TILE_ROWS) {
            TILES(TILE_ROWS, take, vecs * VW / PER, (const OPERAND *)(const void *)(score + r * ATT_KEYS),
                  ATT_KEYS, values + (v * key_rows + j / PER) * VW, key_rows * VW, out + r * wide + v * VW,
                  wide, true);
        }
    }
}

/* One task: rows [first, first + rows) of a head. scratch: query [ATT_ROWS][depth], scores
 * [ATT_ROWS][ATT_KEYS], output [ATT_ROWS][padded dim]. */
static void ATT(task)(const bl_attention_job *a, int64_t head, int64_t first, int rows, float *scratch) {
    int dim = a->head_dim, depth = ATT(depth)(a), wide = (int)up_to(dim, VW),
        padded = (int)up_to(rows, TILE_ROWS);
    OPERAND *query = (OPERAND *)(void *)scratch;
    float *score = scratch + ATT_ROWS * depth, *out = score + ATT_ROWS * ATT_KEYS;
    float highest[ATT_ROWS], sum[ATT_ROWS];
    for (int r = 0; r < padded; r++) {
        const T *q = (const T *)a->q + (first + r) * a->q_stride + head * dim;
        for (int d = 0; d < depth; d++) {
            int n = dim - d * PER < PER ? dim - d * PER : PER;
            query[r * depth + d] = r < rows ? OPERAND_OF(q + d * PER, n) : 0;
        }
        memset(out + r * wide, 0, (size_t)wide * sizeof *out);
        highest[r] = -1e30f; /* below any score that means something; -inf would make inf - inf */
        sum[r] = 0.0f;
    }
    int64_t seen = a->causal && first + rows < a->k_rows ? first + rows : a->k_rows;
    for (int64_t j = 0; j < seen; j += ATT_KEYS) {
        int count = (int)(seen - j < ATT_KEYS ? seen - j : ATT_KEYS);
        ATT(block)(a, head, first, padded, j, count, query, score, out, highest, sum);
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

static UNUSED void ATT(attention)(const bl_attention_job *a, int64_t begin, int64_t end, void *scratch) {
    int64_t blocks = up_to(a->q_rows, ATT_ROWS) / ATT_ROWS;
    for (int64_t item = begin; item < end; item++) {
        int64_t first = item % blocks * ATT_ROWS;
        int rows = (int)(a->q_rows - first < ATT_ROWS ? a->q_rows - first : ATT_ROWS);
        ATT(task)(a, item / blocks, first, rows, scratch);
    }
}
