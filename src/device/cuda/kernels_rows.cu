/* ---- values */

FUNCTION float from_bits(unsigned bits) {
    union {
        unsigned u;
        float f;
    } v;
    v.u = bits;
    return v.f;
}

FUNCTION unsigned to_bits(float f) {
    union {
        float f;
        unsigned u;
    } v;
    v.f = f;
    return v.u;
}

#if ELEMENT_BF16
FUNCTION float load(element x) {
    return from_bits((unsigned)x << 16);
}

/* Nearest, ties to even. */
FUNCTION element store(float f) {
    unsigned u = to_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) {
        return (element)(u >> 16 | 0x40u);
    }
    return (element)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}
#else
FUNCTION float load(element x) {
    return x;
}

FUNCTION element store(float f) {
    return f;
}
#endif

FUNCTION float gelu(float x) {
    return 0.5f * x * (1.0f + erff(x * 0.70710678f));
}

FUNCTION float gelu_tanh(float x) {
    return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
}

/* The numbers are those of bl_act. */
FUNCTION float activated(float x, int act) {
    return act == 1   ? x / (1.0f + expf(-x))
           : act == 2 ? gelu(x)
           : act == 3 ? x / (1.0f + expf(-1.702f * x))
           : act == 6 ? gelu_tanh(x)
           : act == 5 && x < 0.0f
               ? 0.0f
               : x;
}

/* ---- in and out */

KERNEL(import_host, BL_FLAT) {
    FOR_MINE(i, a.count) {
        long long pixel = i / a.c, image = pixel / a.pixels;
        long long from = a.nchw ? (image * a.c + i % a.c) * a.pixels + pixel % a.pixels : i;
        a.y[i] = store(a.x[from]);
    }
}

KERNEL(export_host, BL_FLAT) {
    FOR_MINE(i, a.count) {
        long long image = i / (a.pixels * a.c), c = i / a.pixels % a.c;
        long long from = a.nchw ? (image * a.pixels + i % a.pixels) * a.c + c : i;
        a.y[i] = load(a.x[from]);
    }
}

KERNEL(sinusoid, BL_FLAT) {
    FOR_MINE(i, a.count * a.dim) {
        int k = (int)(i % a.dim), half = a.dim / 2;
        double angle = (double)a.x[i / a.dim] * exp(-9.210340371976184 * (k % half) / half);
        a.y[i] = store((float)(k < half ? cos(angle) : sin(angle)));
    }
}

KERNEL(embed, BL_FLAT) {
    FOR_MINE(i, a.count) {
        long long row = i / a.c, c = i % a.c;
        float place = a.places ? load(a.places[row % a.length * a.c + c]) : 0.0f;
        long long token = a.ids ? a.ids[row] : row;
        a.y[i] = store(load(a.tokens[token * a.c + c]) + place);
    }
}

KERNEL(take_row, BL_FLAT) {
    FOR_MINE(i, a.count) {
        long long image = i / a.c;
        a.y[i] = a.x[(image * a.length + a.rows[image]) * a.c + i % a.c];
    }
}

/* ---- element by element */

KERNEL(act, BL_FLAT) {
    FOR_MINE(i, a.count) {
        a.y[i] = store(activated(load(a.x[i]), a.act));
    }
}

KERNEL(finish, BL_FLAT) {
    FOR_MINE(i, a.count) {
        a.y[i] = store(activated(load(a.x[i]), a.act) + (a.residual ? load(a.residual[i]) : 0.0f));
    }
}

KERNEL(gate, BL_FLAT) {
    FOR_MINE(i, a.count) {
        long long row = i / a.c, at = row * 2 * a.c + i % a.c;
        a.y[i] = store(load(a.x[at]) * gelu(load(a.x[at + a.c])) + (a.residual ? load(a.residual[i]) : 0.0f));
    }
}

KERNEL(add, BL_FLAT) {
    FOR_MINE(i, a.count) {
        a.y[i] = store(load(a.a[i]) + load(a.b[i]));
    }
}

KERNEL(concat, BL_FLAT) {
    FOR_MINE(i, a.count) {
        int both = a.a_c + a.b_c, c = (int)(i % both);
        long long row = i / both;
        a.y[i] = c < a.a_c ? a.a[row * a.a_c + c] : a.b[row * a.b_c + c - a.a_c];
    }
}

KERNEL(upsample, BL_FLAT) {
    FOR_MINE(i, a.count) {
        long long pixel = i / a.c, line = pixel / a.to_w, image = line / a.to_h;
        long long y = line % a.to_h * a.h / a.to_h, x = pixel % a.to_w * a.w / a.to_w;
        a.y[i] = a.x[((image * a.h + y) * a.w + x) * a.c + i % a.c];
    }
}

/* ---- convolutions as products */

KERNEL(patches, BL_FLAT) {
    FOR_MINE(i, a.count) {
        long long each = (long long)a.kh * a.kw * a.c, pixel = a.first + i / each, rest = i % each;
        int k = (int)(rest / a.c);
        long long y = pixel / a.to_w * a.stride + k / a.kw - a.top;
        long long x = pixel % a.to_w * a.stride + k % a.kw - a.left;
        int inside = y >= 0 && y < a.h && x >= 0 && x < a.w;
        a.y[i] = inside ? a.x[(y * a.w + x) * a.c + rest % a.c] : store(0.0f);
    }
}

KERNEL(finish_conv, BL_FLAT) {
    FOR_MINE(i, a.count) {
        a.y[i] = store(a.x[i] + a.bias[i % a.c] + (a.residual ? load(a.residual[i]) : 0.0f));
    }
}

KERNEL(channel_bias, BL_FLAT) {
    FOR_MINE(i, a.count) {
        a.y[i] = a.bias[i] + load(a.channels[i]);
    }
}

/* ---- of transformers */

KERNEL(rope, BL_FLAT) {
    FOR_MINE(i, a.count) {
        int half = a.dim / 2, pair = (int)(i % (a.c / 2)), j = pair % half;
        long long row = i / (a.c / 2), head = row * a.c + (long long)(pair / half) * a.dim;
        long long one = head + (a.halves ? j : 2 * j), two = head + (a.halves ? j + half : 2 * j + 1);
        float cosine = a.table[row * a.dim + j], sine = a.table[row * a.dim + half + j];
        float x = load(a.x[one]), y = load(a.x[two]);
        a.y[one] = store(x * cosine - y * sine);
        a.y[two] = store(x * sine + y * cosine);
    }
}

KERNEL(modulate, BL_FLAT) {
    FOR_MINE(i, a.count) {
        const element *m = a.m + i / a.c / a.rows * a.width + i % a.c;
        float shift = a.shift < 0 ? 0.0f : load(m[a.shift]);
        a.y[i] = store(load(a.x[i]) * (1.0f + load(m[a.scale])) + shift);
    }
}

KERNEL(gated_add, BL_FLAT) {
    FOR_MINE(i, a.count) {
        float g = load(a.m[i / a.c / a.rows * a.width + a.at + i % a.c]);
        a.y[i] = store(load(a.x[i]) + (a.bounded ? tanhf(g) : g) * load(a.added[i]));
    }
}

KERNEL(glu, BL_FLAT) {
    FOR_MINE(i, a.count) {
        long long at = i / a.c * 2 * a.c + i % a.c;
        a.y[i] = store(activated(load(a.x[at]), a.act) * load(a.x[at + a.c]));
    }
}

KERNEL(put_rows, BL_FLAT) {
    FOR_MINE(i, a.count) {
        long long row = i / a.c, image = row / a.rows, mine = row % a.rows, c = i % a.c;
        a.y[(image * a.to_rows + a.at + mine) * a.c + c] = a.x[(image * a.from_rows + a.first + mine) * a.c + c];
    }
}

KERNEL(channels, BL_FLAT) {
    FOR_MINE(i, a.count) {
        a.y[i] = a.x[i / a.c * a.width + a.first + i % a.c];
    }
}

KERNEL(patchify, BL_FLAT) {
    FOR_MINE(i, a.count) {
        long long pixel = i / a.c, line = pixel / a.w, image = line / a.h;
        int x = (int)(pixel % a.w), y = (int)(line % a.h);
        long long patch = (image * (a.h / a.side) + y / a.side) * (a.w / a.side) + x / a.side;
        int squares = a.side * a.side, place = y % a.side * a.side + x % a.side, c = (int)(i % a.c);
        long long cut = patch * squares * a.c + (a.planes ? c * squares + place : place * a.c + c);
        a.y[a.back ? i : cut] = a.x[a.back ? cut : i];
    }
}
