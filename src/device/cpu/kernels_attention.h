/* Attention; part of kernels_impl.h, included once for each way to do it. The includer defines, beside T and
 * what belongs to it:
 *   ATT(f)             the names of this variant
 *   OPERAND, PER       what a factor of a product is: a float (PER 1), or two bf16 side by side (PER 2)
 *   OPERANDS(p, n)     a vector of the operands made of the first n (1 .. VW PER) elements at p; the rest 0
 *   ACROSS(p, q, n)    a vector of operands, each made of an element of the first n (1 .. VW) at p and, if
 *                      PER is 2, the one at q, which may be NULL
 *   TILES              the product of a register tile of such operands
 *   EXP2               2^x, as good as the operands need it
 *   PUT_WEIGHTS(p, e)  stores VW operands made of the PER vectors e[] at p
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
    return a->heads * (up_to(a->k_rows, ATT_KEYS) / ATT_KEYS);
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

/* Keys [first, last) of a head: [key][depth] */
static void ATT(pack_keys)(const bl_attention_job *a, OPERAND *to, int64_t head, int64_t first,
                           int64_t last) {
    int dim = a->head_dim, depth = ATT(depth)(a);
    for (int64_t j = first; j < last; j++, to += depth) {
        const T *k = (const T *)a->k + j * a->k_stride + head * dim;
        for (int d = 0; d < depth; d += VW) {
            int words = depth - d < VW ? depth - d : VW,
                n = dim - d * PER < VW * PER ? dim - d * PER : VW * PER;
            vf row = j < a->k_rows ? OPERANDS(k + d * PER, n) : vf_set(0.0f);
            vf_store_words_part(to + d, row, words);
        }
    }
}

/* Values of keys [first, last) of a head: [channel][key / PER], of `rows` operands a channel */
static void ATT(pack_values)(const bl_attention_job *a, OPERAND *to, int64_t rows, int64_t head,
                             int64_t first, int64_t last) {
    int dim = a->head_dim, channels = (int)up_to(dim, TILE_ROWS);
    for (int64_t j = first; j < last; j += VW * PER) {
        int words = (int)(last - j < VW * PER ? (last - j) / PER : VW);
        for (int d = 0; d < channels; d += VW) {
            int n = dim - d < VW ? dim - d : VW;
            vf m[VW];
            for (int i = 0; i < VW; i++) {
                int64_t key = j + i * PER;
                const T *v = (const T *)a->v + key * a->v_stride + head * dim + d;
                m[i] = n > 0 && i < words && key < a->k_rows
                           ? ACROSS(v, key + 1 < a->k_rows ? v + a->v_stride : NULL, n)
                           : vf_set(0.0f);
            }
            vf_transpose(m);
            for (int i = 0; i < VW && d + i < channels; i++) {
                vf_store_words_part(to + (d + i) * rows + j / PER, m[i], words);
            }
        }
    }
}

/* An item is ATT_KEYS keys of a head. */
static UNUSED void ATT(pack)(const bl_attention_job *a, int64_t begin, int64_t end) {
    int64_t all = up_to(a->k_rows, KEY_STEP), items = up_to(a->k_rows, ATT_KEYS) / ATT_KEYS;
    OPERAND *keys = a->packed, *values = keys + a->heads * ATT(keys_size)(a);
    for (int64_t item = begin; item < end; item++) {
        int64_t head = item / items, first = item % items * ATT_KEYS;
        int64_t last = first + ATT_KEYS < all ? first + ATT_KEYS : all;
        ATT(pack_keys)(a, keys + head * ATT(keys_size)(a) + first * ATT(depth)(a), head, first, last);
        ATT(pack_values)(a, values + head * ATT(values_size)(a), all / PER, head, first, last);
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

/* The task's `rows` queries, the other lanes 0: [TILE_VECS][depth][VW] */
static void ATT(pack_queries)(const ATT(work) * w, int64_t head, int rows) {
    const bl_attention_job *a = w->a;
    int dim = a->head_dim, depth = ATT(depth)(a);
    for (int v = 0; v < TILE_VECS; v++) {
        for (int d = 0; d < depth; d += VW) {
            int n = dim - d * PER < VW * PER ? dim - d * PER : VW * PER;
            vf m[VW];
            for (int i = 0; i < VW; i++) {
                int lane = v * VW + i;
                const T *q = (const T *)a->q + (w->first + lane) * a->q_stride + head * dim + d * PER;
                m[i] = lane < rows ? OPERANDS(q, n) : vf_set(0.0f);
            }
            vf_transpose(m);
            for (int i = 0; i < VW && d + i < depth; i++) {
                vf_store_words(w->query + (v * depth + d + i) * VW, m[i]);
            }
        }
    }
}

/* The output over the sum of weights, to the rows of the task's queries. */
static void ATT(write)(const ATT(work) * w, int64_t head, int rows) {
    const bl_attention_job *a = w->a;
    int dim = a->head_dim;
    for (int v = 0; v * VW < rows; v++) {
        vf inverse = vf_div(vf_set(1.0f), w->sum[v]);
        for (int d = 0; d < dim; d += VW) {
            int n = dim - d < VW ? dim - d : VW;
            vf m[VW];
            for (int i = 0; i < VW; i++) {
                m[i] = i < n ? vf_mul(vf_load(w->out + (d + i) * COLS + v * VW), inverse) : vf_set(0.0f);
            }
            vf_transpose(m);
            for (int i = 0; i < VW && v * VW + i < rows; i++) {
                T *y = (T *)a->y + (w->first + v * VW + i) * a->y_stride + head * dim + d;
                if (n == VW) {
                    STORE(y, m[i]);
                } else {
                    STORE_PART(y, m[i], n);
                }
            }
        }
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
    ATT(pack_queries)(&w, head, rows);
    memset(w.out, 0, (size_t)up_to(dim, TILE_ROWS) * COLS * sizeof *w.out);
    for (int v = 0; v < TILE_VECS; v++) {
        w.base[v] = vf_set(-1e30f); /* below any score that means something; -inf would make inf - inf */
        w.sum[v] = vf_set(0.0f);
    }
    int64_t seen = a->causal && first + rows < a->k_rows ? first + rows : a->k_rows;
    for (int64_t j = 0; j < seen; j += ATT_KEYS) {
        ATT(block)(&w, j, (int)(seen - j < ATT_KEYS ? seen - j : ATT_KEYS));
    }
    ATT(write)(&w, head, rows);
}

static UNUSED void ATT(attention)(const bl_attention_job *a, int64_t begin, int64_t end, void *scratch) {
    int64_t blocks = up_to(a->q_rows, COLS) / COLS;
    for (int64_t item = begin; item < end; item++) {
        ATT(task)(a, item / blocks, item % blocks * COLS, scratch);
    }
}
