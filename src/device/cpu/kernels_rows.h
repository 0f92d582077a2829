/* Kernels over rows of one element type; part of kernels_impl.h, included once for each type T. */

static void NAME(from_f32)(void *y, const float *x, int64_t n) {
    T *out = y;
    int64_t i = 0;
    for (; i + VW <= n; i += VW) {
        STORE(out + i, vf_load(x + i));
    }
    if (i < n) {
        STORE_PART(out + i, vf_load_part(x + i, (int)(n - i)), (int)(n - i));
    }
}

static void NAME(to_f32)(float *y, const void *x, int64_t n) {
    const T *in = x;
    int64_t i = 0;
    for (; i + VW <= n; i += VW) {
        vf_store(y + i, LOAD(in + i));
    }
    if (i < n) {
        vf_store_part(y + i, LOAD_PART(in + i, (int)(n - i)), (int)(n - i));
    }
}

static void NAME(add)(void *y, const void *a, const void *b, int64_t n) {
    T *out = y;
    const T *p = a, *q = b;
    int64_t i = 0;
    for (; i + VW <= n; i += VW) {
        STORE(out + i, vf_add(LOAD(p + i), LOAD(q + i)));
    }
    if (i < n) {
        int rest = (int)(n - i);
        STORE_PART(out + i, vf_add(LOAD_PART(p + i, rest), LOAD_PART(q + i, rest)), rest);
    }
}

static void NAME(act)(void *y, const void *x, int64_t n, bl_act act) {
    T *out = y;
    const T *in = x;
    int64_t i = 0;
    for (; i + VW <= n; i += VW) {
        STORE(out + i, activate(LOAD(in + i), act));
    }
    if (i < n) {
        int rest = (int)(n - i);
        STORE_PART(out + i, activate(LOAD_PART(in + i, rest), act), rest);
    }
}

static void NAME(gate)(void *y, const void *x, const void *g, int64_t n) {
    T *out = y;
    const T *in = x, *gates = g;
    int64_t i = 0;
    for (; i + VW <= n; i += VW) {
        STORE(out + i, vf_mul(LOAD(in + i), gelu(LOAD(gates + i))));
    }
    if (i < n) {
        int rest = (int)(n - i);
        STORE_PART(out + i, vf_mul(LOAD_PART(in + i, rest), gelu(LOAD_PART(gates + i, rest))), rest);
    }
}

static void NAME(add_row)(void *y, const void *x, const float *row, int64_t rows, int c) {
    for (int64_t r = 0; r < rows; r++) {
        T *out = (T *)y + r * c;
        const T *in = (const T *)x + r * c;
        int i = 0;
        for (; i + VW <= c; i += VW) {
            STORE(out + i, vf_add(LOAD(in + i), vf_load(row + i)));
        }
        if (i < c) {
            STORE_PART(out + i, vf_add(LOAD_PART(in + i, c - i), vf_load_part(row + i, c - i)), c - i);
        }
    }
}

static void NAME(layer_norm)(void *y, const void *x, const float *scale, const float *shift, int64_t rows,
                             int c, float eps) {
    for (int64_t r = 0; r < rows; r++) {
        T *out = (T *)y + r * c;
        const T *in = (const T *)x + r * c;
        int whole = c / VW * VW, rest = c - whole;
        vf sum = vf_set(0.0f), square = vf_set(0.0f);
        for (int i = 0; i < whole; i += VW) {
            sum = vf_add(sum, LOAD(in + i));
        }
        float total = vf_sum(sum);
        for (int i = whole; i < c; i++) {
            total += NAME(one)(in[i]);
        }
        float mean = total / (float)c;
        for (int i = 0; i < whole; i += VW) {
            vf d = vf_sub(LOAD(in + i), vf_set(mean));
            square = vf_fma(d, d, square);
        }
        float variance = vf_sum(square);
        for (int i = whole; i < c; i++) {
            float d = NAME(one)(in[i]) - mean;
            variance += d * d;
        }
        float inverse = 1.0f / sqrtf(variance / (float)c + eps);
        for (int i = 0; i < whole; i += VW) {
            vf d = vf_mul(vf_sub(LOAD(in + i), vf_set(mean)), vf_set(inverse));
            STORE(out + i, vf_fma(d, vf_load(scale + i), vf_load(shift + i)));
        }
        if (rest) {
            vf d = vf_mul(vf_sub(LOAD_PART(in + whole, rest), vf_set(mean)), vf_set(inverse));
            STORE_PART(out + whole,
                       vf_fma(d, vf_load_part(scale + whole, rest), vf_load_part(shift + whole, rest)), rest);
        }
    }
}

static void NAME(rms_norm)(void *y, const void *x, const float *scale, int64_t rows, int c, float eps) {
    for (int64_t r = 0; r < rows; r++) {
        T *out = (T *)y + r * c;
        const T *in = (const T *)x + r * c;
        int whole = c / VW * VW, rest = c - whole;
        vf square = vf_set(0.0f);
        for (int i = 0; i < whole; i += VW) {
            square = vf_fma(LOAD(in + i), LOAD(in + i), square);
        }
        float total = vf_sum(square);
        for (int i = whole; i < c; i++) {
            total += NAME(one)(in[i]) * NAME(one)(in[i]);
        }
        vf inverse = vf_set(1.0f / sqrtf(total / (float)c + eps));
        for (int i = 0; i < whole; i += VW) {
            STORE(out + i, vf_mul(vf_mul(LOAD(in + i), inverse), vf_load(scale + i)));
        }
        if (rest) {
            vf v = vf_mul(LOAD_PART(in + whole, rest), inverse);
            STORE_PART(out + whole, vf_mul(v, vf_load_part(scale + whole, rest)), rest);
        }
    }
}

/* Sums over the rows for the `lanes` channels at x: of x - first and of its square. Taking the first row's
 * value off keeps the digits when the mean is large against the deviation. */
static inline void NAME(column_sums)(vf first, vf *sum, vf *square, const T *x, int64_t rows, int c,
                                     int lanes) {
    vf s = vf_set(0.0f), q = vf_set(0.0f);
    for (int64_t r = 0; r < rows; r++) {
        vf d = vf_sub(lanes == VW ? LOAD(x + r * c) : LOAD_PART(x + r * c, lanes), first);
        s = vf_add(s, d);
        q = vf_fma(d, d, q);
    }
    *sum = s;
    *square = q;
}

static void NAME(group_moments)(bl_moments *out, const void *x, int64_t rows, int c, int groups) {
    int size = c / groups;
    float first[VW], sum[VW], square[VW];
    for (int i = 0; i < c; i += VW) {
        int lanes = c - i < VW ? c - i : VW;
        const T *in = (const T *)x + i;
        vf f = lanes == VW ? LOAD(in) : LOAD_PART(in, lanes), s, q;
        NAME(column_sums)(f, &s, &q, in, rows, c, lanes);
        vf_store(first, f);
        vf_store(sum, s);
        vf_store(square, q);
        for (int k = 0; k < lanes; k++) {
            bl_moments *m = &out[(i + k) / size];
            double n = (double)rows, mean = sum[k] / n, distance = square[k] - sum[k] * mean;
            distance = distance > 0.0 ? distance : distance < 0.0 ? 0.0 : distance; /* NaN stays */
            int before = (i + k) % size;
            if (before == 0) {
                *m = (bl_moments){first[k] + mean, distance};
            } else {
                moments_join(m, n * before, n, first[k] + mean, distance);
            }
        }
    }
}

static void NAME(scale_shift)(void *y, const void *x, const float *a, const float *b, int64_t rows, int c,
                              bl_act act) {
    for (int64_t r = 0; r < rows; r++) {
        T *out = (T *)y + r * c;
        const T *in = (const T *)x + r * c;
        int i = 0;
        for (; i + VW <= c; i += VW) {
            vf v = vf_fma(LOAD(in + i), vf_load(a + i), vf_load(b + i));
            STORE(out + i, act == BL_ACT_SILU ? swish(v, 1.0f) : v);
        }
        if (i < c) {
            int rest = c - i;
            vf v = vf_fma(LOAD_PART(in + i, rest), vf_load_part(a + i, rest), vf_load_part(b + i, rest));
            STORE_PART(out + i, act == BL_ACT_SILU ? swish(v, 1.0f) : v, rest);
        }
    }
}
