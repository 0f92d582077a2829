/* Attention; part of kernels_impl.h, included once for each way to do it. The includer defines, beside T and
 * what belongs to it: ATT(f)        the names of this variant OPERAND, PER  what a factor of a product is: a
 * float (PER 1), or two bf16 side by side (PER 2) OPERAND_OF(p, n)  the operand made of the first n (1 ..
 * PER) elements at p TILES         the product of a register tile of such operands EXP2          2^x, as good
 * as the operands need it PUT_WEIGHTS(p, e)  stores VW operands made of the PER vectors e[] at p
 *
 * A task is COLS query rows of one head, one in each lane of TILE_VECS vectors. Scores are computed the other
 * way round, [key][query], so that maximum, sum and weights of a query stay in its lane, and a block of
 * weights is at once the right factor of the product with the values: out [channel][query] += values
 * [channel][key] weights [key][query]. The task walks over the keys in blocks of ATT_KEYS, keeping for each
 * query a base that the exponents are taken against, the running sum and the unscaled output (the online
 * softmax of Milakov and Gimelshein, blocked as in FlashAttention); so no more than ATT_KEYS x COLS scores
 * exist. The base is the running maximum, but as long as no score is more than SLACK powers of two above it,
 * it stays, and the output need not be scaled. Keys are packed to [key][depth] operands, values to
 * [channel][key / PER]; both are padded with zeros to whole tiles. */
#ifndef ATT_KEYS
#define UNUSED __attribute__((unused)) /* a table may have a better way for one of the types */
#define ATT_KEYS (16 * TILE_ROWS)
#define KEY_STEP (2 * TILE_ROWS) /* keys are padded to whole tiles and whole pairs */
#define COLS (TILE_VECS * VW)
#define SLACK 8.0f

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
    return up_to(a->k_rows, KEY_STEP) / PER * up_to(a->head_dim, TILE_ROWS);
}

static UNUSED int64_t ATT(pack_items)(const bl_attention_job *a) {
    return a->heads * (up_to(a->k_rows, KEY_STEP) / KEY_STEP);
}

static UNUSED int64_t ATT(items)(const bl_attention_job *a) {
    return a->heads * (up_to(a->q_rows, COLS) / COLS);
}

static UNUSED uint64_t ATT(packed)(const bl_attention_job *a) {
    return (uint64_t)(a->heads * (ATT(keys_size)(a) + ATT(values_size)(a))) * sizeof(OPERAND);
}

static UNUSED uint64_t ATT(scratch)(const bl_attention_job *a) {
    return (uint64_t)(COLS * (ATT(depth)(a) + ATT_KEYS + up_to(a->head_dim, TILE_ROWS))) * sizeof(float);
}

/* An item is KEY_STEP keys of a head. */
static UNUSED void ATT(pack)(const bl_attention_job *a, int64_t begin, int64_t end) {
    int64_t steps = up_to(a->k_rows, KEY_STEP) / KEY_STEP, rows = steps * KEY_STEP / PER;
    int dim = a->head_dim, depth = ATT(depth)(a);
    for (int64_t item = begin; item < end; item++) {
        int64_t head = item / steps, first = item % steps * KEY_STEP;
        OPERAND *keys = (OPERAND *)a->packed + head * ATT(keys_size)(a) + first * depth;
        OPERAND *values = (OPERAND *)a->packed + a->heads * ATT(keys_size)(a) + head * ATT(values_size)(a);
        for (int64_t j = first; j < first + KEY_STEP; j++) {
            const T *k = (const T *)a->k + j * a->k_stride + head * dim;
            for (int d = 0; d < depth; d++) {
                int n = dim - d * PER < PER ? dim - d * PER : PER;
                *keys++ = j < a->k_rows ? OPERAND_OF(k + d * PER, n) : 0;
            }
        }
        for (int d = 0; d < (int)up_to(dim, TILE_ROWS); d++) {
            for (int64_t j = first; j < first + KEY_STEP; j += PER) {
                const T *v = (const T *)a->v + j * a->v_stride + head * dim + d;
                T pair[2] = {0, 0};
                for (int i = 0; i < PER && d < dim && j + i < a->k_rows; i++) {
                    pair[i] = v[i * a->v_stride];
                }
                values[d * rows + j / PER] = OPERAND_OF(pair, PER);
            }
        }
    }
}

/* What a task works with. */
typedef struct ATT(work) {
    const bl_attention_job *a;
    const OPERAND *keys, *values; /* of its head */
    int64_t first;                /* query row in lane 0 */
    OPERAND *query;               /* [TILE_VECS][depth][VW] */
    float *score;                 /* [ATT_KEYS][COLS]; then weights, operands [ATT_KEYS / PER][COLS] */
    float *out;                   /* [dim][COLS] */
    vf base[TILE_VECS], sum[TILE_VECS];
} ATT(work);

/* Makes keys that a query must not see so low that their weight is 0. */
static void ATT(hide)(ATT(work) * w, int64_t j, int count) {
    for (int key = 0; key < count; key++) {
        for (int64_t lane = 0; lane < COLS && w->first + lane < j + key; lane++) {
            w->score[key * COLS + lane] = -1e30f;
        }
    }
}

/* Raises the base of the queries of vector v, where it must be, and scales what was summed so far. */
static inline void ATT(raise)(ATT(work) * w, int v, int count, float scale) {
    vf top = w->base[v], top2 = top; /* two chains, because each step waits for the one before */
    const float *s = w->score + v * VW;
    for (int key = 0; key + 1 < count; key += 2) {
        top = vf_max(vf_load(s + key * COLS), top);
        top2 = vf_max(vf_load(s + (key + 1) * COLS), top2);
    }
    if (count % 2) {
        top = vf_max(vf_load(s + (count - 1) * COLS), top);
    }
    top = vf_max(top, top2);
    vf rise = vf_mul(vf_sub(top, w->base[v]), vf_set(scale));
    if (!(vf_highest(rise) > SLACK)) {
        return;
    }
    vf factor = exp2_of(vf_sub(vf_set(0.0f), rise));
    w->base[v] = top;
    w->sum[v] = vf_mul(w->sum[v], factor);
    for (int d = 0; d < w->a->head_dim; d++) {
        float *o = w->out + d * COLS + v * VW;
        vf_store(o, vf_mul(vf_load(o), factor));
    }
}

/* Turns the scores of vector v into weights in place. */
static inline void ATT(weigh)(ATT(work) * w, int v, int count, float scale) {
    vf factor = vf_set(scale), base = vf_mul(w->base[v], vf_set(-scale)), sum = w->sum[v];
    for (int key = 0; key < (int)up_to(count, 2); key += PER) {
        vf e[2];
        for (int i = 0; i < PER; i++) {
            const float *s = w->score + (key + i) * COLS + v * VW;
            e[i] = key + i < count ? EXP2(vf_fma(vf_load(s), factor, base)) : vf_set(0.0f);
            sum = vf_add(sum, e[i]);
        }
        PUT_WEIGHTS((OPERAND *)(void *)w->score + key / PER * COLS + v * VW, e);
    }
    w->sum[v] = sum;
}

/* Keys [j, j + count): scores, weights, and their part of the output. */
static inline void ATT(block)(ATT(work) * w, int64_t j, int count) {
    const bl_attention_job *a = w->a;
    int depth = ATT(depth)(a);
    int64_t key_rows = up_to(a->k_rows, KEY_STEP) / PER;
    float scale = a->scale * 1.44269504f;
    for (int key = 0; key < count; key += TILE_ROWS) {
        TILES(count - key, TILE_VECS, depth, w->keys + (j + key) * depth, depth, w->query, VW,
              (int64_t)depth * VW, w->score + key * COLS, COLS, false);
    }
    if (a->causal && j + count > w->first) {
        ATT(hide)(w, j, count);
    }
    for (int v = 0; v < TILE_VECS; v++) {
        ATT(raise)(w, v, count, scale);
        ATT(weigh)(w, v, count, scale);
    }
    for (int d = 0; d < a->head_dim; d += TILE_ROWS) {
        TILES(a->head_dim - d, TILE_VECS, (count + PER - 1) / PER, w->values + d * key_rows + j / PER,
              key_rows, (const OPERAND *)(const void *)w->score, COLS, VW, w->out + d * COLS, COLS, true);
    }
}

static void ATT(task)(const bl_attention_job *a, int64_t head, int64_t first, float *scratch) {
    int dim = a->head_dim, depth = ATT(depth)(a);
    int rows = (int)(a->q_rows - first < COLS ? a->q_rows - first : COLS);
    ATT(work) w = {.a = a, .first = first};
    w.keys = (const OPERAND *)a->packed + head * ATT(keys_size)(a);
    w.values = (const OPERAND *)a->packed + a->heads * ATT(keys_size)(a) + head * ATT(values_size)(a);
    w.query = (OPERAND *)(void *)scratch;
    w.score = scratch + COLS * depth;
    w.out = w.score + COLS * ATT_KEYS;
    for (int lane = 0; lane < COLS; lane++) {
        const T *q = (const T *)a->q + (first + lane) * a->q_stride + head * dim;
        for (int d = 0; d < depth; d++) {
            int n = dim - d * PER < PER ? dim - d * PER : PER;
            w.query[(lane / VW * depth + d) * VW + lane % VW] = lane < rows ? OPERAND_OF(q + d * PER, n) : 0;
        }
    }
    memset(w.out, 0, (size_t)up_to(dim, TILE_ROWS) * COLS * sizeof *w.out);
    for (int v = 0; v < TILE_VECS; v++) {
        w.base[v] = vf_set(-1e30f); /* below any score that means something; -inf would make inf - inf */
        w.sum[v] = vf_set(0.0f);
    }
    int64_t seen = a->causal && first + rows < a->k_rows ? first + rows : a->k_rows;
    for (int64_t j = 0; j < seen; j += ATT_KEYS) {
        ATT(block)(&w, j, (int)(seen - j < ATT_KEYS ? seen - j : ATT_KEYS));
    }
    for (int lane = 0; lane < rows; lane++) {
        float sums[VW], row[64];
        vf_store(sums, w.sum[lane / VW]);
        float inverse = 1.0f / sums[lane % VW];
        T *y = (T *)a->y + (first + lane) * a->y_stride + head * dim;
        for (int d = 0; d < dim; d += 64) {
            int n = dim - d < 64 ? dim - d : 64;
            for (int i = 0; i < n; i++) {
                row[i] = w.out[(d + i) * COLS + lane] * inverse;
            }
            NAME(from_f32)(y + d, row, n);
        }
    }
}

static UNUSED void ATT(attention)(const bl_attention_job *a, int64_t begin, int64_t end, void *scratch) {
    int64_t blocks = up_to(a->q_rows, COLS) / COLS;
    for (int64_t item = begin; item < end; item++) {
        ATT(task)(a, item / blocks, item % blocks * COLS, scratch);
    }
}
