/* Weights that lie small in their block, made wide: a block of threads a row. The numbers are made by the same
 * few operations as in core/storage.c. Products of a scale and a code are exact, so it is one rounding whether
 * an addition is joined to them or not. */

/* A small float of `mantissa` bits, without its sign; `zero`: the exponent of f32 that 0 stands for. */
FUNCTION unsigned small_bits(unsigned code, int mantissa, unsigned zero) {
    unsigned without = code < 1u << mantissa;
    float one = from_bits(without ? (zero + 1) << 23 : 0);
    return to_bits(from_bits((code << (23 - mantissa)) + ((zero + without) << 23)) - one);
}

FUNCTION float half_at(const unsigned char *p) {
    unsigned h = p[0] | (unsigned)p[1] << 8, code = h & 0x7fff;
    unsigned past = code > 0x7c00 ? 0x7fc00000u : code == 0x7c00 ? 0x7f800000u : 0;
    return from_bits(small_bits(code, 10, 112) | past | (h & 0x8000) << 16);
}

FUNCTION float e4m3(unsigned c) {
    unsigned code = c & 127;
    return from_bits(small_bits(code, 3, 120) | (code == 127 ? 0x7fc00000u : 0) | (c & 128) << 24);
}

FUNCTION float e5m2(unsigned c) {
    unsigned code = c & 127, past = code > 124 ? 0x7fc00000u : code == 124 ? 0x7f800000u : 0;
    return from_bits(small_bits(code, 2, 112) | past | (c & 128) << 24);
}

/* Value i of a block of 32, whose codes have four or five bits, with a minimum or around zero. */
FUNCTION float of_32(const unsigned char *b, int i, int five, int minimum) {
    const unsigned char *fifth = b + (minimum ? 4 : 2), *q = fifth + (five ? 4 : 0);
    int code = q[i & 15] >> (i & 16 ? 4 : 0) & 15;
    code |= five ? (fifth[i >> 3] >> (i & 7) & 1) << 4 : 0;
    return minimum ? half_at(b) * (float)code + half_at(b + 2) : half_at(b) * (float)(code - (five ? 16 : 8));
}

FUNCTION float of_q8(const unsigned char *b, int i) {
    return half_at(b) * (float)(signed char)b[2 + i];
}

/* Of a block of 256 in eight groups, each with a scale and a minimum of six bits. */
FUNCTION float of_k(const unsigned char *b, int i, int five) {
    const unsigned char *s = b + 4, *fifth = b + 16, *q = b + (five ? 48 : 16);
    int g = i >> 5, at = i & 31, low = g < 4;
    int scale = low ? s[g] & 63 : (s[g + 4] & 15) | s[g - 4] >> 6 << 4;
    int minimum = low ? s[g + 4] & 63 : s[g + 4] >> 4 | s[g] >> 6 << 4;
    int code = q[(g >> 1) * 32 + at] >> (g & 1 ? 4 : 0) & 15;
    code |= five ? (fifth[at] >> g & 1) << 4 : 0;
    return half_at(b) * (float)scale * (float)code - half_at(b + 2) * (float)minimum;
}

FUNCTION float of_q6(const unsigned char *b, int i) {
    int half = i >> 7, group = i >> 5 & 3, at = i & 31;
    int low = b[half * 64 + (group & 1) * 32 + at] >> (group & 2 ? 4 : 0) & 15;
    int code = low | (b[128 + half * 32 + at] >> 2 * group & 3) << 4;
    return half_at(b + 208) * (float)(signed char)b[192 + (i >> 4)] * (float)(code - 32);
}

/* The row that this block makes: its own, or the one that `ids` names, if it is one of these. */
#define SMALL_ROW const long long row = a.ids ? (long long)a.ids[BLOCK] - a.first : BLOCK
#define SMALL_COUNT (row >= 0 && row < a.rows ? a.columns : 0)
#define SMALL_SCALE (a.scales && row >= 0 && row < a.rows ? a.scales[row] : 1.0f)
/* Where column k of [channels][positions] lies in [positions][channels]. */
#define TURNED(k) (a.positions > 1 ? (k) % a.positions * (a.columns / a.positions) + (k) / a.positions : (k))

#define WIDEN(value)                                                    \
    for (int k = THREAD; k < count; k += BL_LANES * BL_ROWS) {          \
        y[TURNED(k)] = store((value) * scale);                          \
    }                                                                   \
    break
/* ..., of blocks of so many values and bytes: value i of block b. */
#define WIDEN_BLOCKS(values, size, value)                               \
    for (int k = THREAD; k < count; k += BL_LANES * BL_ROWS) {          \
        const unsigned char *b = codes + (long long)(k / values) * size; \
        int i = k % values;                                             \
        y[TURNED(k)] = store((value) * scale);                          \
    }                                                                   \
    break

KERNEL(widen, BL_LANES * BL_ROWS) {
    SMALL_ROW;
    const int count = SMALL_COUNT;
    const float scale = SMALL_SCALE;
    const unsigned char *codes = a.codes + (count ? row : 0) * a.row_bytes;
    element *y = a.y + BLOCK * a.columns;
    THREADS {
        switch (a.form) {
        case BL_SMALL_Q4_0:
            WIDEN_BLOCKS(32, 18, of_32(b, i, 0, 0));
        case BL_SMALL_Q4_1:
            WIDEN_BLOCKS(32, 20, of_32(b, i, 0, 1));
        case BL_SMALL_Q5_0:
            WIDEN_BLOCKS(32, 22, of_32(b, i, 1, 0));
        case BL_SMALL_Q5_1:
            WIDEN_BLOCKS(32, 24, of_32(b, i, 1, 1));
        case BL_SMALL_Q8_0:
            WIDEN_BLOCKS(32, 34, of_q8(b, i));
        case BL_SMALL_Q4_K:
            WIDEN_BLOCKS(256, 144, of_k(b, i, 0));
        case BL_SMALL_Q5_K:
            WIDEN_BLOCKS(256, 176, of_k(b, i, 1));
        case BL_SMALL_Q6_K:
            WIDEN_BLOCKS(256, 210, of_q6(b, i));
        case BL_SMALL_E4M3:
            WIDEN(e4m3(codes[k]));
        case BL_SMALL_E5M2:
            WIDEN(e5m2(codes[k]));
        default:
            WIDEN((float)(signed char)codes[k]);
        }
    }
}

/* ConvRot undone: sums of codes with the signs of a Hadamard matrix, which are whole numbers, in pieces of a
 * row that hold whole groups. */
#define ROTATED 1024

/* The sign of code j in value i: less for each base-4 digit in which they add up to 3. */
FUNCTION int rotated_sign(int i, int j) {
    unsigned x = (unsigned)(i ^ j), less = x & x >> 1 & 0x55555555u;
    less ^= less >> 16;
    less ^= less >> 8;
    less ^= less >> 4;
    less ^= less >> 2;
    return less & 1 ? -1 : 1;
}

KERNEL(widen_rotated, BL_LANES * BL_ROWS) {
    SHARED(int, sum, ROTATED);
    SMALL_ROW;
    const int count = SMALL_COUNT;
    const float scale = SMALL_SCALE;
    const signed char *codes = a.codes + (count ? row : 0) * a.columns;
    element *y = a.y + BLOCK * a.columns;
    for (int first = 0; first < count && a.group <= ROTATED; first += ROTATED) {
        const int n = count - first < ROTATED ? count - first : ROTATED;
        THREADS {
            for (int k = THREAD; k < n; k += BL_LANES * BL_ROWS) {
                sum[k] = codes[first + k];
            }
        }
        for (int stride = 1; stride < a.group; stride *= 4) {
            SYNC
            THREADS {
                for (int k = THREAD; k < n / 4; k += BL_LANES * BL_ROWS) {
                    int *p = sum + k / stride * stride * 4 + k % stride;
                    int one = p[0], two = p[stride], three = p[2 * stride], four = p[3 * stride];
                    p[0] = one + two + three - four;
                    p[stride] = one + two - three + four;
                    p[2 * stride] = one - two + three + four;
                    p[3 * stride] = -one + two + three + four;
                }
            }
        }
        SYNC
        THREADS {
            for (int k = THREAD; k < n; k += BL_LANES * BL_ROWS) {
                y[TURNED(first + k)] = store((float)sum[k] * a.shrink * scale);
            }
        }
    }
    THREADS { /* groups that no piece holds */
        for (int k = THREAD; k < count && a.group > ROTATED; k += BL_LANES * BL_ROWS) {
            const signed char *from = codes + k / a.group * a.group;
            int all = 0;
            for (int j = 0; j < a.group; j++) {
                all += rotated_sign(k % a.group, j) * from[j];
            }
            y[TURNED(k)] = store((float)all * a.shrink * scale);
        }
    }
}
