/* Kernels that add up. Each sum is cut by the shape alone and added in one order, so that it has the same bits
 * on every run: no atomic additions. */

/* Differences from a chunk's first value: what large means would take from the squares is never there. */
KERNEL(group_sums, BL_FLAT) {
    FOR_MINE(i, a.count) {
        long long c = i % a.c, chunk = i / a.c % a.chunks, image = i / a.c / a.chunks;
        long long begin = chunk * a.step, end = begin + a.step < a.rows ? begin + a.step : a.rows;
        const element *x = a.x + image * a.rows * a.c + c;
        float first = load(x[begin * a.c]), sum = 0.0f, square = 0.0f;
        for (long long row = begin; row < end; row++) {
            float d = load(x[row * a.c]) - first;
            sum += d;
            square += d * d;
        }
        float *to = a.sums + (image * a.chunks + chunk) * 2 * a.c + c;
        float mean = sum / (float)(end - begin);
        to[0] = first + mean;
        to[a.c] = square - sum * mean;
    }
}

/* Joins (n, mean, squares) of one part of a sample with that of another. */
#define JOIN(n, mean, squares, other_n, other_mean, other_squares)                \
    {                                                                             \
        float both_ = (n) + (other_n), d_ = (other_mean) - (mean);                \
        if (both_ > 0.0f) {                                                       \
            (squares) += (other_squares) + d_ * d_ * ((n) * ((other_n) / both_)); \
            (mean) += d_ * ((other_n) / both_);                                   \
            (n) = both_;                                                          \
        }                                                                         \
    }

KERNEL(group_factors, BL_LANES * BL_ROWS) {
    SHARED(float, n, BL_LANES * BL_ROWS);
    SHARED(float, mean, BL_LANES * BL_ROWS);
    SHARED(float, squares, BL_LANES * BL_ROWS);
    const int width = a.c / a.groups, from = (int)(BLOCK % a.groups) * width;
    const long long image = BLOCK / a.groups;
    THREADS {
        float my_n = 0.0f, my_mean = 0.0f, my_squares = 0.0f;
        for (long long i = THREAD; i < (long long)a.chunks * width; i += BL_LANES * BL_ROWS) {
            long long chunk = i / width;
            const float *at = a.sums + (image * a.chunks + chunk) * 2 * a.c + from + i % width;
            float count = (float)(chunk + 1 < a.chunks ? a.step : a.rows - chunk * a.step);
            JOIN(my_n, my_mean, my_squares, count, at[0], at[a.c])
        }
        n[THREAD] = my_n;
        mean[THREAD] = my_mean;
        squares[THREAD] = my_squares;
    }
    for (int step = BL_LANES * BL_ROWS / 2; step; step /= 2) {
        SYNC
        THREADS {
            if (THREAD < step) {
                int other = THREAD + step;
                JOIN(n[THREAD], mean[THREAD], squares[THREAD], n[other], mean[other], squares[other])
            }
        }
    }
    SYNC
    THREADS {
        float factor = 1.0f / sqrtf(squares[0] / n[0] + a.eps);
        for (int c = from + THREAD; c < from + width; c += BL_LANES * BL_ROWS) {
            a.factors[image * 2 * a.c + c] = factor * a.scale[c];
            a.factors[(image * 2 + 1) * a.c + c] = a.shift[c] - mean[0] * factor * a.scale[c];
        }
    }
}

KERNEL(group_norm, BL_FLAT) {
    FOR_MINE(i, a.count) {
        long long c = i % a.c, image = i / a.c / a.rows;
        const float *f = a.factors + image * 2 * a.c + c;
        a.y[i] = store(activated(load(a.x[i]) * f[0] + f[a.c], a.act));
    }
}

/* After it each lane's number of `buffer` is its row's. */
#define REDUCE(buffer, joined)                      \
    for (int step = BL_LANES / 2; step; step /= 2) {   \
        SYNC                                        \
        THREADS {                                   \
            int mine = THREAD, other = mine + step; \
            if (mine % BL_LANES < step) {              \
                buffer[mine] = joined;              \
            }                                       \
        }                                           \
    }                                               \
    SYNC

#define MY_ROW (BLOCK * BL_ROWS + THREAD / BL_LANES)
#define OF_MY_ROW(buffer) buffer[THREAD / BL_LANES * BL_LANES]

KERNEL(row_norm, BL_LANES * BL_ROWS) {
    SHARED(float, sum, BL_LANES * BL_ROWS);
    SHARED(float, square, BL_LANES * BL_ROWS);
    THREADS {
        float s = 0.0f;
        for (int c = THREAD % BL_LANES; a.centered && MY_ROW < a.rows && c < a.c; c += BL_LANES) {
            s += load(a.x[MY_ROW * a.c + c]);
        }
        sum[THREAD] = s;
    }
    REDUCE(sum, sum[mine] + sum[other])
    THREADS {
        float mean = OF_MY_ROW(sum) / (float)a.c, s = 0.0f;
        for (int c = THREAD % BL_LANES; MY_ROW < a.rows && c < a.c; c += BL_LANES) {
            float d = load(a.x[MY_ROW * a.c + c]) - mean;
            s += d * d;
        }
        square[THREAD] = s;
    }
    REDUCE(square, square[mine] + square[other])
    THREADS {
        float mean = OF_MY_ROW(sum) / (float)a.c, factor = 1.0f / sqrtf(OF_MY_ROW(square) / (float)a.c + a.eps);
        for (int c = THREAD % BL_LANES; MY_ROW < a.rows && c < a.c; c += BL_LANES) {
            long long i = MY_ROW * a.c + c;
            float y = (load(a.x[i]) - mean) * factor;
            a.y[i] = store((a.scale ? y * a.scale[c] : y) + (a.shift ? a.shift[c] : 0.0f));
        }
    }
}

#define SCORE(k)                                                                                             \
    (a.x[MY_ROW * a.stride + (k)] +                                                                          \
     (a.bias ? a.bias[MY_ROW / a.rows_each * a.bias_stride + a.first + MY_ROW % a.rows_each - (k) + a.bias_zero] \
             : 0.0f))

KERNEL(softmax, BL_LANES * BL_ROWS) {
    SHARED(float, most, BL_LANES * BL_ROWS);
    SHARED(float, sum, BL_LANES * BL_ROWS);
    SHARED(int, seen, BL_ROWS);
    THREADS {
        if (THREAD % BL_LANES == 0) {
            int row = a.first + (int)(MY_ROW % a.rows_each) + 1;
            seen[THREAD / BL_LANES] = MY_ROW >= a.rows ? 0 : a.causal && row < a.keys ? row : a.keys;
        }
    }
    SYNC
    THREADS {
        float m = -3.0e38f;
        for (int k = THREAD % BL_LANES; k < seen[THREAD / BL_LANES]; k += BL_LANES) {
            m = fmaxf(m, SCORE(k));
        }
        most[THREAD] = m;
    }
    REDUCE(most, fmaxf(most[mine], most[other]))
    THREADS {
        float s = 0.0f;
        for (int k = THREAD % BL_LANES; k < seen[THREAD / BL_LANES]; k += BL_LANES) {
            s += expf(SCORE(k) - OF_MY_ROW(most));
        }
        sum[THREAD] = s;
    }
    REDUCE(sum, sum[mine] + sum[other])
    THREADS {
        float factor = 1.0f / OF_MY_ROW(sum);
        for (int k = THREAD % BL_LANES; MY_ROW < a.rows && k < a.stride; k += BL_LANES) {
            long long i = MY_ROW * a.stride + k;
            a.y[i] = store(k < seen[THREAD / BL_LANES] ? expf(SCORE(k) - OF_MY_ROW(most)) * factor : 0.0f);
        }
    }
}
