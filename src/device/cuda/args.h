/* What our kernels are called with: one struct each, passed by value. The same text is compiled by the host's
 * compiler, to which addresses of the card are numbers, and in front of the kernels. `element` is the graph's
 * dtype. Counts of elements are 64 bits wide, counts along one axis 32. */
#ifndef BALLAST_DEVICE_CUDA_ARGS_H
#define BALLAST_DEVICE_CUDA_ARGS_H

#ifndef BALLAST_KERNEL_TEXT
#define BL_POINTER(type) unsigned long long
#endif

/* A kernel of one row or element a thread runs with BL_FLAT threads a block; one that adds up over rows with
 * BL_LANES threads a row and BL_ROWS rows a block; one that adds up once a block with BL_LANES * BL_ROWS. */
#define BL_FLAT 256
#define BL_LANES 32
#define BL_ROWS 4

/* x: [n, c, h, w] if nchw, else [n, h, w, c] -> y [n, h, w, c] */
struct import_host_args {
    BL_POINTER(const float) x;
    BL_POINTER(element) y;
    long long count; /* n * h * w * c */
    long long pixels;
    int c, nchw;
};

/* The other way. */
struct export_host_args {
    BL_POINTER(const element) x;
    BL_POINTER(float) y;
    long long count, pixels;
    int c, nchw;
};

/* y[i, dim] of each of `count` values */
struct sinusoid_args {
    BL_POINTER(const float) x;
    BL_POINTER(element) y;
    long long count;
    int dim;
};

/* y [count / c, c]: row `ids[i]` of tokens, or row i where ids is 0, + row i % length of places, which may be
 * 0 */
struct embed_args {
    BL_POINTER(const int) ids;
    BL_POINTER(const element) tokens;
    BL_POINTER(const element) places;
    BL_POINTER(element) y;
    long long count;
    int c, length;
};

/* y [n, c]: of each picture's `length` rows of x the one that `rows` names */
struct take_row_args {
    BL_POINTER(const element) x;
    BL_POINTER(const int) rows;
    BL_POINTER(element) y;
    long long count, length;
    int c;
};

/* y = act(x) */
struct act_args {
    BL_POINTER(const element) x;
    BL_POINTER(element) y;
    long long count;
    int act;
};

/* y = act(x) + residual; residual may be 0 */
struct finish_args {
    BL_POINTER(const element) x;
    BL_POINTER(const element) residual;
    BL_POINTER(element) y;
    long long count;
    int act;
};

/* y [rows, c] = a gelu(g) + residual, of x [rows, 2 c] = [a, g] */
struct gate_args {
    BL_POINTER(const element) x;
    BL_POINTER(const element) residual;
    BL_POINTER(element) y;
    long long count;
    int c;
};

struct add_args {
    BL_POINTER(const element) a;
    BL_POINTER(const element) b;
    BL_POINTER(element) y;
    long long count;
};

/* y [rows, a_c + b_c] */
struct concat_args {
    BL_POINTER(const element) a;
    BL_POINTER(const element) b;
    BL_POINTER(element) y;
    long long count;
    int a_c, b_c;
};

/* x [n, h, w, c] -> y [n, to_h, to_w, c] */
struct upsample_args {
    BL_POINTER(const element) x;
    BL_POINTER(element) y;
    long long count;
    int h, w, to_h, to_w, c;
};

/* Of x [n, rows, c] in `chunks` chunks of `step` rows: mean and sum of squared differences from it, F32
 * [n, chunks, 2, c]. */
struct group_sums_args {
    BL_POINTER(const element) x;
    BL_POINTER(float) sums;
    long long count; /* n * chunks * c */
    long long rows, step;
    int chunks, c;
};

/* These of all chunks of a group -> F32 [n, 2, c]: factors, then offsets. A block for each group of each
 * picture. */
struct group_factors_args {
    BL_POINTER(const float) sums;
    BL_POINTER(const float) scale;
    BL_POINTER(const float) shift;
    BL_POINTER(float) factors;
    long long rows, step;
    int chunks, c, groups;
    float eps;
};

/* y = act(x factor + offset), [n, rows, c] */
struct group_norm_args {
    BL_POINTER(const element) x;
    BL_POINTER(const float) factors;
    BL_POINTER(element) y;
    long long count, rows;
    int c, act;
};

/* Over each row of c. Where it is not `centered` the mean is left in, as RMS_NORM has it. scale and shift may
 * be 0. */
struct row_norm_args {
    BL_POINTER(const element) x;
    BL_POINTER(const float) scale;
    BL_POINTER(const float) shift;
    BL_POINTER(element) y;
    long long rows;
    int c, centered;
    float eps;
};

/* Scores F32 [rows, stride] -> weights [rows, stride], both of `keys` each. Where `causal` row i of each
 * `rows_each` sees the first first + i + 1 keys, else all. `bias` F32 [heads, bias_stride] is added before,
 * that of row first + i and key k at first + i - k + bias_zero; or 0. */
struct softmax_args {
    BL_POINTER(const float) x;
    BL_POINTER(const float) bias;
    BL_POINTER(element) y;
    long long rows; /* heads * rows_each */
    int rows_each, stride, keys, causal, first, bias_stride, bias_zero;
};

/* What a convolution reads for `count` / (kh kw c) pixels of the output from number `first` on:
 * x [h, w, c] -> y [pixels, kh, kw, c] */
struct patches_args {
    BL_POINTER(const element) x;
    BL_POINTER(element) y;
    long long count, first;
    int h, w, c, to_w, kh, kw, stride, top, left;
};

/* y [pixels, c] = x + bias + residual; residual may be 0 */
struct finish_conv_args {
    BL_POINTER(const float) x;
    BL_POINTER(const float) bias;
    BL_POINTER(const element) residual;
    BL_POINTER(element) y;
    long long count;
    int c;
};

/* y F32 [c] = bias + channels of one picture */
struct channel_bias_args {
    BL_POINTER(const float) bias;
    BL_POINTER(const element) channels;
    BL_POINTER(float) y;
    long long count;
};

/* `count` pairs of channels of x [rows, c], of each `dim` of which `table` F32 [rows, dim] has cosines, then
 * sines. Pairs lie side by side, or, where `halves`, dim / 2 apart. */
struct rope_args {
    BL_POINTER(const element) x;
    BL_POINTER(const float) table;
    BL_POINTER(element) y;
    long long count;
    int c, dim, halves;
};

/* y [n, rows, c] = x (1 + m[scale ..]) + m[shift ..], m [n, width]; shift may be -1: none */
struct modulate_args {
    BL_POINTER(const element) x;
    BL_POINTER(const element) m;
    BL_POINTER(element) y;
    long long count, rows;
    int c, width, scale, shift;
};

/* y [n, rows, c] = x + g added, g = m[at ..] or, `bounded`, its tanh; m [n, width] */
struct gated_add_args {
    BL_POINTER(const element) x;
    BL_POINTER(const element) added;
    BL_POINTER(const element) m;
    BL_POINTER(element) y;
    long long count, rows;
    int c, width, at, bounded;
};

/* y [rows, c] = act(a) b, of x [rows, 2 c] = [a, b] */
struct glu_args {
    BL_POINTER(const element) x;
    BL_POINTER(element) y;
    long long count;
    int c, act;
};

/* Rows [first, first + rows) of each picture's from_rows become rows [at, at + rows) of its to_rows. */
struct put_rows_args {
    BL_POINTER(const element) x;
    BL_POINTER(element) y;
    long long count, rows, from_rows, first, to_rows, at;
    int c;
};

/* x [rows, width] -> its channels [first, first + c) */
struct channels_args {
    BL_POINTER(const element) x;
    BL_POINTER(element) y;
    long long count;
    int c, width, first;
};

/* Pictures x [n, h, w, c] -> patches y [n, h / side, w / side, side, side, c], or, `planes`, [.., c, side,
 * side]; `back`: the other way */
struct patchify_args {
    BL_POINTER(const element) x;
    BL_POINTER(element) y;
    long long count;
    int h, w, c, side, planes, back;
};

/* Forms of small weights: the numbers are those of bl_storage. */
enum {
    BL_SMALL_Q4_0 = 1,
    BL_SMALL_Q4_1,
    BL_SMALL_Q5_0,
    BL_SMALL_Q5_1,
    BL_SMALL_Q8_0,
    BL_SMALL_Q4_K,
    BL_SMALL_Q5_K,
    BL_SMALL_Q6_K,
    BL_SMALL_E4M3,
    BL_SMALL_E5M2,
    BL_SMALL_I8
};

/* Small rows of [channels, positions] codes -> y [.., positions, channels], times the row's scale where
 * `scales` is not 0. Of a table only those that `ids` names, less `first`, if they are among `rows`; else
 * ids is 0. */
struct widen_args {
    BL_POINTER(const unsigned char) codes; /* [rows, row_bytes] */
    BL_POINTER(const float) scales;        /* [rows] */
    BL_POINTER(const int) ids;
    BL_POINTER(element) y;
    long long rows, first, row_bytes;
    int columns, positions, form;
};

/* The same of rows of eight-bit codes that ConvRot turned in groups, whose root is 1 / shrink. */
struct widen_rotated_args {
    BL_POINTER(const signed char) codes; /* [rows, columns] */
    BL_POINTER(const float) scales;
    BL_POINTER(const int) ids;
    BL_POINTER(element) y;
    long long rows, first;
    int columns, positions, group;
    float shrink;
};

/* KERNEL(name) of every kernel. */
#define BL_CUDA_KERNELS(KERNEL) \
    KERNEL(import_host)         \
    KERNEL(export_host)         \
    KERNEL(sinusoid)            \
    KERNEL(embed)               \
    KERNEL(take_row)            \
    KERNEL(act)                 \
    KERNEL(finish)              \
    KERNEL(gate)                \
    KERNEL(add)                 \
    KERNEL(concat)              \
    KERNEL(upsample)            \
    KERNEL(group_sums)          \
    KERNEL(group_factors)       \
    KERNEL(group_norm)          \
    KERNEL(row_norm)            \
    KERNEL(softmax)             \
    KERNEL(patches)             \
    KERNEL(finish_conv)         \
    KERNEL(channel_bias)        \
    KERNEL(rope)                \
    KERNEL(modulate)            \
    KERNEL(gated_add)           \
    KERNEL(glu)                 \
    KERNEL(put_rows)            \
    KERNEL(channels)            \
    KERNEL(patchify)            \
    KERNEL(widen)               \
    KERNEL(widen_rotated)

#endif
