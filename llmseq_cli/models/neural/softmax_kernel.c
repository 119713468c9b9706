/* Cross-entropy over a catalog and both its gradients, fused. Python: softmax_kernel.py, which compiles this file.

For positions with hidden vectors h and shares w of the loss, and items with vectors e, z = e·h:

    loss = Σ_p w_p (log Σ_i exp(z_ip) - z_target)     grad h_p = w_p (Σ_i exp(z_ip) e_i / Σ_p - e_target)
                                                      grad e_i = Σ_p w_p exp(z_ip) h_p / Σ_p - Σ_(p has target i) w_p h_p

Positions lie in the lanes of vectors. A chunk of positions goes over the items in blocks that stay in the nearest caches:
  first pass   z = e·h, exp, the sums, and exp·e, while a block's exponentials are hot; these are also kept, 2 or 4 bytes
               each, for the second pass;
  second pass  exp·w·h / Σ. For a catalog that is so large that they cannot be kept, they are computed again.
With low = 1 the products take pairs of bfloat16 (vdpbf16ps) and add up in float32; with low = 0 all is float32. In both
cases a "unit" is 4 bytes: a pair along the dimension that is summed over, or a number.

Threads share the positions in the first pass and the items in the second. Nothing is added up across threads, so the
outcome does not depend on how many there are.
*/
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define W 16 /* lanes of a vector */
#define MOST 4 /* vectors of positions, or of dimensions, in the registers at once */
#elif defined(__AVX__)
#define W 8
#define MOST 3
#else
#define W 4
#define MOST 4
#endif
#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512DQ__)
#define HAS_BFLOAT16 1
#else
#define HAS_BFLOAT16 0
#endif

#define ROWS 4 /* items, or dimensions, in the registers at once */
#define BLOCK 64 /* items whose exponentials are in the caches at once */
#define SAFE 40.0f /* exp(±SAFE), and sums of millions of them, are far from the ends of float32's range */
#define LEAST_SUM 1e-26f /* about exp(-60): below it, what float32 loses at its end might count */
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * W), aligned(4)));
typedef int32_t ivec __attribute__((vector_size(4 * W), aligned(4)));

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t all_there;
    int size, there;
    unsigned round;
} Meeting;

typedef struct {
    const float *hidden, *items; /* [n, d], [n_items, d] */
    const int64_t *targets; /* [n] */
    const float *weights; /* [n]: w, which add up to 1 */
    float *grad_hidden, *grad_items; /* [n, d], [n_items, d] */
    double *losses; /* [n] */
    long n, n_items, d, padded; /* padded: d, up to whole vectors */
    long units; /* of a row: (d + 1) / 2 pairs, or d */
    long width; /* units of a kept row: positions of a chunk / 2, or all */
    long vectors; /* of positions in a chunk at most */
    int keeps, threads;
    float *kept; /* [n_items in blocks, width] */
    float *packed; /* hidden: [vectors, units, W] */
    float *shared; /* w·hidden / Σ: [width, padded] */
    float *shift; /* [vectors, W]: taken off the logits */
    float *longest; /* [threads]: squared norms */
    Meeting meeting;
} Task;

typedef struct {
    Task *task;
    int number;
    float *rows, *pairs; /* a block of items: [BLOCK, units], [BLOCK units, padded] */
    float *tile, *mixed; /* exponentials: [BLOCK, width], [BLOCK / 2, MOST * W] */
    float *grads, *sums; /* Σ exp·e: [vectors, padded, W]; Σ exp: [vectors, W] */
} Worker;

static void meet(Meeting *m) {
    pthread_mutex_lock(&m->lock);
    unsigned round = m->round;
    if (++m->there == m->size) {
        m->there = 0;
        m->round++;
        pthread_cond_broadcast(&m->all_there);
    } else
        while (round == m->round) pthread_cond_wait(&m->all_there, &m->lock);
    pthread_mutex_unlock(&m->lock);
}

INLINE vec all(float x) { return x - (vec){0}; }

INLINE vec load(const float *from) { return *(const vec *)from; }

INLINE void store(float *to, vec x) { *(vec *)to = x; }

/* a bfloat16 in the upper half of a float, rounded to nearest even */
INLINE uint32_t low_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fc0;
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

INLINE float pair(float first, float second) {
    uint32_t bits = low_bits(first) | low_bits(second) << 16;
    float unit;
    memcpy(&unit, &bits, 4);
    return unit;
}

/* sum + a·b, where b is a vector of units and a one unit for all lanes */
INLINE vec add_product(const int low, vec sum, const float *a, vec b) {
#if HAS_BFLOAT16
    if (low) {
        int32_t bits;
        memcpy(&bits, a, 4);
        return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(bits), (__m512bh)b);
    }
#endif
    return sum + *a * b;
}

/* sums[r][c] += Σ_k a[r, k] · b[k, c] */
INLINE void multiply(const int low, const int C, long n_k, const float *a, long a_row, long a_k, const float *b,
                     long b_k, long b_c, vec sums[ROWS][MOST]) {
    for (long k = 0; k < n_k; k++) {
        vec column[MOST];
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) column[c] = load(b + k * b_k + c * b_c);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
            for (int c = 0; c < C; c++)
                sums[r][c] = add_product(low, sums[r][c], a + r * a_row + k * a_k, column[c]);
    }
}

/* 2^x for x below 120; 0 far below, and NaN of NaN */
INLINE vec power_of_two(const int low, vec x) {
#if defined(__AVX512DQ__)
    vec f = (vec)_mm512_reduce_ps((__m512)x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
#else
    ivec whole = __builtin_convertvector(x, ivec);
    vec f = x - __builtin_convertvector(whole, vec);
    ivec below = f < 0;
    whole += below;
    f -= __builtin_convertvector(below, vec);
#endif
    vec y;
    if (low) {
        y = 0.0135341679f * f + 0.0520114628f;
        y = y * f + 0.241442754f;
        y = y * f + 0.693003836f;
        y = y * f + 1.00000259f;
    } else {
        y = 0.00187757667f * f + 0.00898934034f;
        y = y * f + 0.0558263176f;
        y = y * f + 0.240153617f;
        y = y * f + 0.693153073f;
        y = y * f + 0.999999925f;
    }
#if defined(__AVX512DQ__)
    return (vec)_mm512_scalef_ps((__m512)y, (__m512)x);
#else
    ivec bits = ((whole + 127) << 23) & ~(x < -126);
    return y * (vec)bits;
#endif
}

#define LOG2_E 1.44269504f

/* A block's logits with C vectors of positions, exponentiated.

to: [BLOCK, width], where a row is kept. mixed: [BLOCK / 2, C * W], pairs of items, of bfloat16 only. sums: [C, W] or
NULL. largest: [C, W], where only the largest logits are wanted. */
INLINE void exponentials(const int low, const int C, const Task *t, const float *rows, long n_rows, long v, float *to,
                         float *mixed, float *sums, float *largest) {
    const float *b = t->packed + v * t->units * W;
    vec total[MOST], off[MOST];
#pragma GCC unroll 8
    for (int c = 0; c < C; c++) {
        total[c] = (vec){0};
        off[c] = load(t->shift + (v + c) * W) * -LOG2_E;
    }
    for (long i = 0; i < BLOCK; i += ROWS) {
        vec z[ROWS][MOST];
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
            for (int c = 0; c < C; c++) z[r][c] = (vec){0};
        multiply(low, C, t->units, rows + i * t->units, t->units, 1, b, W, t->units * W, z);
        if (largest) {
            for (int r = 0; r < ROWS && i + r < n_rows; r++)
                for (int c = 0; c < C; c++) {
                    vec most = load(largest + c * W);
                    ivec stays = z[r][c] <= most;
                    store(largest + c * W, (vec)((stays & (ivec)most) | (~stays & (ivec)z[r][c])));
                }
            continue;
        }
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
            for (int c = 0; c < C; c++) z[r][c] = power_of_two(low, z[r][c] * LOG2_E + off[c]);
        if (i + ROWS > n_rows)
            for (int r = 0; r < ROWS; r++)
                if (i + r >= n_rows)
                    for (int c = 0; c < C; c++) z[r][c] = (vec){0};
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) {
            total[c] += (z[0][c] + z[1][c]) + (z[2][c] + z[3][c]);
#if HAS_BFLOAT16
            if (low) {
                const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7,
                                                       22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
#pragma GCC unroll 8
                for (int r = 0; r < ROWS; r += 2) {
                    __m512i two = (__m512i)_mm512_cvtne2ps_pbh((__m512)z[r + 1][c], (__m512)z[r][c]);
                    float *row = to + (i + r) * t->width + c * W / 2;
                    _mm256_storeu_si256((__m256i *)row, _mm512_castsi512_si256(two));
                    _mm256_storeu_si256((__m256i *)(row + t->width), _mm512_extracti64x4_epi64(two, 1));
                    if (mixed)
                        _mm512_storeu_si512(mixed + ((i + r) / 2 * C + c) * W, _mm512_permutexvar_epi16(order, two));
                }
                continue;
            }
#endif
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++) store(to + (i + r) * t->width + c * W, z[r][c]);
        }
    }
    if (sums)
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) store(sums + c * W, load(sums + c * W) + total[c]);
}

/* grads [C, padded, W] += Σ over a block's items of e · exp */
INLINE void add_to_hidden(const int low, const int C, const Worker *w, const float *exps, long exps_k, float *grads) {
    const long padded = w->task->padded;
    for (long j = 0; j < padded; j += ROWS) {
        vec sums[ROWS][MOST];
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
            for (int c = 0; c < C; c++) sums[r][c] = load(grads + (c * padded + j + r) * W);
        multiply(low, C, low ? BLOCK / 2 : BLOCK, w->pairs + j, 1, padded, exps, exps_k, W, sums);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
            for (int c = 0; c < C; c++) store(grads + (c * padded + j + r) * W, sums[r][c]);
    }
}

/* C vectors of dimensions, from j on, of the gradients of ROWS items: to [ROWS, to_row] += Σ_k exps · shared */
INLINE void add_to_items(const int low, const int C, const Task *t, const float *exps, long n_k, long j, int first,
                         float *to, long to_row) {
    vec sums[ROWS][MOST];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) sums[r][c] = first ? (vec){0} : load(to + r * to_row + j + c * W);
    multiply(low, C, n_k, exps, t->width, 1, t->shared + j, t->padded, W, sums);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) store(to + r * to_row + j + c * W, sums[r][c]);
}

/* The three, compiled for every number of vectors: [low][C - 1]. */
#define COMPILED(low, C) \
    static void exponentials_##low##_##C(const Task *t, const float *rows, long n_rows, long v, float *to, float *mixed, \
                                         float *sums, float *largest) { \
        exponentials(low, C, t, rows, n_rows, v, to, mixed, sums, largest); \
    } \
    static void to_hidden_##low##_##C(const Worker *w, const float *exps, long exps_k, float *grads) { \
        add_to_hidden(low, C, w, exps, exps_k, grads); \
    } \
    static void to_items_##low##_##C(const Task *t, const float *exps, long n_k, long j, int first, float *to, long to_row) { \
        add_to_items(low, C, t, exps, n_k, j, first, to, to_row); \
    }
#define NAMES(name, low) {name##_##low##_1, name##_##low##_2, name##_##low##_3, name##_##low##_MOST}
#if HAS_BFLOAT16
COMPILED(1, 1) COMPILED(1, 2) COMPILED(1, 3) COMPILED(1, MOST)
#define TABLE(name) {NAMES(name, 0), NAMES(name, 1)}
#else
#define TABLE(name) {NAMES(name, 0)}
#endif
COMPILED(0, 1) COMPILED(0, 2) COMPILED(0, 3) COMPILED(0, MOST)

typedef void Exponentials(const Task *, const float *, long, long, float *, float *, float *, float *);
typedef void ToHidden(const Worker *, const float *, long, float *);
typedef void ToItems(const Task *, const float *, long, long, int, float *, long);
static Exponentials *const exponentials_of[][4] = TABLE(exponentials);
static ToHidden *const to_hidden_of[][4] = TABLE(to_hidden);
static ToItems *const to_items_of[][4] = TABLE(to_items);

static int so_many(long left) { return left < MOST ? (int)left : MOST; }

/* rows and pairs of a block; what is beyond the catalog is 0 */
INLINE void pack_items(const int low, Worker *w, long start) {
    const Task *t = w->task;
    const long d = t->d;
    for (long i = 0; i < BLOCK; i += low ? 2 : 1) {
        const float *x = t->items + (start + i) * d;
        float *pairs = w->pairs + (low ? i / 2 : i) * t->padded;
        long there = t->n_items - start - i; /* rows from here on */
        if (there <= 0) {
            memset(w->rows + i * t->units, 0, (low ? 2 : 1) * t->units * sizeof(float));
            memset(pairs, 0, t->padded * sizeof(float));
        } else if (!low) {
            memcpy(w->rows + i * t->units, x, d * sizeof(float));
            memcpy(pairs, x, d * sizeof(float));
        } else {
            float *first = w->rows + i * t->units, *second = first + t->units;
            long j = 0;
#if HAS_BFLOAT16
            if (there > 1)
                for (; j + 32 <= d; j += 32) { /* 32 dimensions of two items */
                    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23,
                                                           7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
                    __m512 a0 = _mm512_loadu_ps(x + j), a1 = _mm512_loadu_ps(x + j + 16);
                    __m512 b0 = _mm512_loadu_ps(x + d + j), b1 = _mm512_loadu_ps(x + d + j + 16);
                    _mm512_storeu_si512(first + j / 2, (__m512i)_mm512_cvtne2ps_pbh(a1, a0));
                    _mm512_storeu_si512(second + j / 2, (__m512i)_mm512_cvtne2ps_pbh(b1, b0));
                    __m512i low_half = (__m512i)_mm512_cvtne2ps_pbh(b0, a0);
                    __m512i high_half = (__m512i)_mm512_cvtne2ps_pbh(b1, a1);
                    _mm512_storeu_si512(pairs + j, _mm512_permutexvar_epi16(order, low_half));
                    _mm512_storeu_si512(pairs + j + 16, _mm512_permutexvar_epi16(order, high_half));
                }
#endif
            for (; j < d; j += 2) {
                float a0 = x[j], a1 = j + 1 < d ? x[j + 1] : 0;
                float b0 = there > 1 ? x[d + j] : 0, b1 = there > 1 && j + 1 < d ? x[d + j + 1] : 0;
                first[j / 2] = pair(a0, a1);
                second[j / 2] = pair(b0, b1);
                pairs[j] = pair(a0, b0);
                if (j + 1 < d) pairs[j + 1] = pair(a1, b1);
            }
        }
    }
}

/* The first pass over all items, of the vectors of positions from `from` to `to`. largest: see `exponentials`. */
INLINE void first_pass(const int low, Worker *w, long from, long to, float *largest) {
    const Task *t = w->task;
    for (long start = 0; start < t->n_items; start += BLOCK) {
        pack_items(low, w, start);
        for (long v = from; v < to; v += MOST) {
            float *exps = (t->keeps ? t->kept + start * t->width : w->tile) + v * W / (low ? 2 : 1);
            float *grads = w->grads + v * t->padded * W, *sums = w->sums + v * W;
            float *most = largest ? largest + (v - from) * W : NULL;
            long n_rows = t->n_items - start;
            const int C = so_many(to - v);
            exponentials_of[low][C - 1](t, w->rows, n_rows, v, exps, w->mixed, sums, most);
            if (!most) to_hidden_of[low][C - 1](w, low ? w->mixed : exps, low ? C * W : t->width, grads);
        }
    }
}

static float squared_norm(const float *x, long d) {
    float sum = 0;
    for (long j = 0; j < d; j++) sum += x[j] * x[j];
    return sum;
}

/* The hidden vectors of vector v, whose first position is p, side by side; and what to take off the logits: nothing
where |h|·|e| bounds them, else so much that they stay below SAFE. */
INLINE void pack_hidden(const int low, Worker *w, long v, long p) {
    Task *t = w->task;
    float longest = 0;
    for (int i = 0; i < t->threads; i++)
        if (!(t->longest[i] <= longest)) longest = t->longest[i];
    for (int lane = 0; lane < W; lane++) {
        float *to = t->packed + v * t->units * W + lane;
        const float *h = t->hidden + (p + lane) * t->d;
        const long there = p + lane < t->n ? t->d : 0;
        for (long k = 0; k < t->units; k++) {
            const long j = low ? 2 * k : k;
            float first = j < there ? h[j] : 0;
            to[k * W] = low ? pair(first, j + 1 < there ? h[j + 1] : 0) : first;
        }
        float bound = 1.01f * sqrtf(squared_norm(h, there)) * sqrtf(longest);
        t->shift[v * W + lane] = bound <= SAFE ? 0 : bound - SAFE; /* NaN stays NaN */
    }
}

/* What the sums of vector v say: losses, gradients of the hidden vectors, and what the second pass takes of these. */
INLINE void finish(const int low, Worker *w, long v, long p) {
    Task *t = w->task;
    const long d = t->d;
    const float *grads = w->grads + v * t->padded * W, *sums = w->sums + v * W;
    float scaled[W];
    for (int lane = 0; lane < W; lane++) {
        const long q = p + lane;
        scaled[lane] = q < t->n ? t->weights[q] / sums[lane] : 0;
        if (q >= t->n) continue;
        const float *h = t->hidden + q * d, *own = t->items + t->targets[q] * d;
        float z = 0;
        for (long j = 0; j < d; j++) {
            z += h[j] * own[j];
            t->grad_hidden[q * d + j] = grads[j * W + lane] * scaled[lane] - own[j] * t->weights[q];
        }
        t->losses[q] = t->weights[q] * (log((double)sums[lane]) + t->shift[v * W + lane] - z);
    }
    for (int lane = 0; lane < W; lane += low ? 2 : 1) {
        const float *h = t->hidden + (p + lane) * d;
        float *to = t->shared + (v * W + lane) / (low ? 2 : 1) * t->padded;
        const int first = p + lane < t->n, second = p + lane + 1 < t->n;
        for (long j = 0; j < t->padded; j++) {
            float x = first && j < d ? h[j] * scaled[lane] : 0;
            to[j] = low ? pair(x, second && j < d ? h[d + j] * scaled[lane + 1] : 0) : x;
        }
    }
}

/* Where the worker's share of the items starts, or that of the next one. */
static long first_item(const Worker *w, int next) {
    const long blocks = (w->task->n_items + BLOCK - 1) / BLOCK;
    return blocks * (w->number + next) / w->task->threads * BLOCK;
}

/* The second pass over the worker's share of the items, of a chunk of `vectors` vectors of positions from p on. */
INLINE void second_pass(const int low, Worker *w, long p, long vectors) {
    Task *t = w->task;
    const long d = t->d, padded = t->padded, n_k = vectors * W / (low ? 2 : 1);
    float aside[ROWS * padded];
    for (long start = first_item(w, 0); start < first_item(w, 1); start += BLOCK) {
        float *exps = t->keeps ? t->kept + start * t->width : w->tile;
        if (!t->keeps) {
            pack_items(low, w, start);
            for (long v = 0; v < vectors; v += MOST)
                exponentials_of[low][so_many(vectors - v) - 1](t, w->rows, t->n_items - start, v,
                                                               exps + v * W / (low ? 2 : 1), NULL, NULL, NULL);
        }
        for (long i = start; i < start + BLOCK && i < t->n_items; i += ROWS) {
            /* Straight into the gradients where whole vectors and rows fit. */
            const int fits = padded == d && i + ROWS <= t->n_items;
            const long there = i + ROWS <= t->n_items ? ROWS : t->n_items - i;
            float *to_rows = fits ? t->grad_items + i * d : aside;
            if (!fits && p)
                for (long r = 0; r < there; r++)
                    memcpy(aside + r * padded, t->grad_items + (i + r) * d, d * sizeof(float));
            for (long j = 0; j < padded; j += MOST * W)
                to_items_of[low][so_many((padded - j) / W) - 1](t, exps + (i - start) * t->width, n_k, j, p == 0,
                                                                to_rows, padded);
            if (!fits)
                for (long r = 0; r < there; r++)
                    memcpy(t->grad_items + (i + r) * d, aside + r * padded, d * sizeof(float));
        }
    }
}

/* The targets' own terms, of the worker's share of the items. */
static void take_off_targets(const Worker *w) {
    const Task *t = w->task;
    for (long p = 0; p < t->n; p++)
        if (t->targets[p] >= first_item(w, 0) && t->targets[p] < first_item(w, 1))
            for (long j = 0; j < t->d; j++)
                t->grad_items[t->targets[p] * t->d + j] -= t->hidden[p * t->d + j] * t->weights[p];
}

/* The vectors again from the start whose sums, shifted by the bound, came out so small that float32 lost some. */
INLINE void again_where_small(const int low, Worker *w, long v) {
    Task *t = w->task;
    float largest[W];
    int small = 0;
    for (int lane = 0; lane < W; lane++) small |= w->sums[v * W + lane] < LEAST_SUM;
    if (!small) return;
    for (int lane = 0; lane < W; lane++) largest[lane] = -INFINITY;
    first_pass(low, w, v, v + 1, largest);
    memcpy(t->shift + v * W, largest, sizeof largest);
    memset(w->sums + v * W, 0, W * sizeof(float));
    memset(w->grads + v * t->padded * W, 0, t->padded * W * sizeof(float));
    first_pass(low, w, v, v + 1, NULL);
}

INLINE void work(const int low, Worker *w) {
    Task *t = w->task;
    float longest = 0;
    for (long i = t->n_items * w->number / t->threads; i < t->n_items * (w->number + 1) / t->threads; i++) {
        float norm = squared_norm(t->items + i * t->d, t->d);
        if (!(norm <= longest)) longest = norm;
    }
    t->longest[w->number] = longest;
    meet(&t->meeting);
    const long all_vectors = (t->n + W - 1) / W, chunks = (all_vectors + t->vectors - 1) / t->vectors;
    for (long chunk = 0; chunk < chunks; chunk++) {
        const long start = all_vectors * chunk / chunks, vectors = all_vectors * (chunk + 1) / chunks - start;
        const long from = vectors * w->number / t->threads, to = vectors * (w->number + 1) / t->threads;
        for (long v = from; v < to; v++) pack_hidden(low, w, v, (start + v) * W);
        memset(w->sums + from * W, 0, (to - from) * W * sizeof(float));
        memset(w->grads + from * t->padded * W, 0, (to - from) * t->padded * W * sizeof(float));
        if (from < to) first_pass(low, w, from, to, NULL);
        for (long v = from; v < to; v++) {
            again_where_small(low, w, v);
            finish(low, w, v, (start + v) * W);
        }
        meet(&t->meeting);
        second_pass(low, w, start * W, vectors);
        meet(&t->meeting);
    }
    take_off_targets(w);
}

static void *run(void *worker) {
#if HAS_BFLOAT16
    if (((Worker *)worker)->task->units < ((Worker *)worker)->task->d) {
        work(1, worker);
        return NULL;
    }
#endif
    work(0, worker);
    return NULL;
}

int llmseq_has_bfloat16(void) { return HAS_BFLOAT16; }

/* 0, 1 for lack of memory, 2 for a target that is no item. kept: bytes of exponentials to keep at most. */
int llmseq_softmax(long n, long n_items, long d, const float *hidden, const float *items, const int64_t *targets,
                   const float *weights, float *grad_hidden, float *grad_items, double *loss, int low, int threads, long kept) {
    for (long p = 0; p < n; p++)
        if (targets[p] < 0 || targets[p] >= n_items) return 2;
    Task t = {.hidden = hidden, .items = items, .targets = targets, .weights = weights, .grad_hidden = grad_hidden,
              .grad_items = grad_items, .n = n, .n_items = n_items, .d = d};
    const long all_vectors = (n + W - 1) / W, rows = (n_items + BLOCK - 1) / BLOCK * BLOCK, size = low ? 2 : 4;
    t.padded = (d + W - 1) / W * W;
    t.units = low ? (d + 1) / 2 : d;
    t.threads = threads < 1 ? 1 : threads > all_vectors ? (int)all_vectors : threads;
    t.vectors = kept / (rows * W * size);
    t.keeps = t.vectors * W >= 64;
    const long most = (t.keeps ? 256 : 1024) / W;
    if (!t.keeps || t.vectors > most) t.vectors = most;
    if (t.vectors > all_vectors) t.vectors = all_vectors;
    t.width = t.vectors * W / (low ? 2 : 1);
    /* One piece of memory for all: what is shared, then what every worker has. */
    const long shared[] = {t.keeps ? rows * t.width : 0, t.vectors * t.units * W, t.width * t.padded, t.vectors * W, t.threads};
    const long own[] = {BLOCK * t.units, BLOCK * t.padded, t.keeps ? 0 : BLOCK * t.width, BLOCK / 2 * MOST * W,
                        t.vectors * t.padded * W, t.vectors * W};
    long total = 0;
    for (int i = 0; i < 5; i++) total += (shared[i] + 15) / 16 * 16;
    for (int i = 0; i < 6; i++) total += (own[i] + 15) / 16 * 16 * t.threads;
    float *memory = aligned_alloc(64, total * sizeof(float));
    Worker *workers = calloc(t.threads, sizeof(Worker));
    pthread_t *ids = calloc(t.threads, sizeof(pthread_t));
    t.losses = malloc(n * sizeof(double));
    int failed = !memory || !workers || !ids || !t.losses;
    if (!failed) {
        float *at = memory, **parts[] = {&t.kept, &t.packed, &t.shared, &t.shift, &t.longest};
        for (int i = 0; i < 5; at += (shared[i++] + 15) / 16 * 16) *parts[i] = at;
        for (int number = 0; number < t.threads; number++) {
            Worker *w = workers + number;
            float **mine[] = {&w->rows, &w->pairs, &w->tile, &w->mixed, &w->grads, &w->sums};
            w->task = &t;
            w->number = number;
            for (int i = 0; i < 6; at += (own[i++] + 15) / 16 * 16) *mine[i] = at;
            memset(w->pairs, 0, BLOCK * t.padded * sizeof(float));
        }
        pthread_mutex_init(&t.meeting.lock, NULL);
        pthread_cond_init(&t.meeting.all_there, NULL);
        /* Where the system gives fewer threads, those that there are share the work: it is handed out afterwards. */
        int started = 1;
        pthread_mutex_lock(&t.meeting.lock);
        while (started < t.threads && !pthread_create(ids + started, NULL, run, workers + started)) started++;
        t.meeting.size = t.threads = started;
        pthread_mutex_unlock(&t.meeting.lock);
        run(workers);
        for (int number = 1; number < started; number++) pthread_join(ids[number], NULL);
        pthread_cond_destroy(&t.meeting.all_there);
        pthread_mutex_destroy(&t.meeting.lock);
        *loss = 0;
        for (long p = 0; p < n; p++) *loss += t.losses[p];
    }
    free(memory);
    free(workers);
    free(ids);
    free(t.losses);
    return failed;
}
