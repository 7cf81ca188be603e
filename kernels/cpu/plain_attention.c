/*
 * Plain kernels: attention under the masks of kernels.h. A query's visible keys are listed, and nothing else is
 * computed; memory is one row of scores.
 */
#include "common/mem.h"
#include "kernels/cpu/plain.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int list_range(int *list, int n, int from, int to)
{
    for (int i = from; i <= to; i++)
        list[n++] = i;
    return n;
}

static int larger(int a, int b)
{
    return a > b ? a : b;
}

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

/* list = the image positions that image position p sees, each once, rising; their number. */
static int visible_positions(int *list, int p, const struct attention_shape *s)
{
    int n = 0, half = s->kernel / 2;
    switch (s->mask) {
    case MASK_ROW:
        return list_range(list, 0, larger(0, p - s->grid), p);
    case MASK_COLUMN:
        for (int q = p % s->grid; q <= p; q += s->grid)
            list[n++] = q;
        return n;
    case MASK_CONV: {
        int next = 0; /* rows of a kernel wider than the grid overlap */
        for (int middle = p - half * s->grid; middle <= p; middle += s->grid) {
            int last = smaller(middle + half, p);
            n = list_range(list, n, larger(next, middle - half), last);
            next = larger(next, last + 1);
        }
        return n;
    }
    default:
        return list_range(list, 0, 0, p);
    }
}

/* list = the states that state i sees. */
static int visible_states(int *list, int i, const struct attention_shape *s)
{
    if (s->mask == MASK_NONE)
        return list_range(list, 0, 0, s->states - 1);
    if (s->mask == MASK_CAUSAL || i < s->prefix)
        return list_range(list, 0, 0, i);
    int n = list_range(list, 0, 0, s->prefix - 1);
    int positions = visible_positions(list + n, i - s->prefix, s);
    for (int j = n; j < n + positions; j++)
        list[j] += s->prefix;
    return n + positions;
}

static double dot(const float *a, const float *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

/* Scratch for one query: its keys' and values' places and their scores. */
struct row {
    const float **keys, **values;
    double *scores, *sum;
};

static struct row row_new(int keys, int head_dim)
{
    return (struct row){xmalloc(keys * sizeof(float *)), xmalloc(keys * sizeof(float *)),
                        xmalloc(keys * sizeof(double)), xmalloc(head_dim * sizeof(double))};
}

static void row_free(struct row *r)
{
    free(r->keys);
    free(r->values);
    free(r->scores);
    free(r->sum);
}

/* out [d] = softmax(query . keys / sqrt(d)) values; the result is the logarithm of the softmax's denominator. */
static double attend(float *out, const float *query, struct row *r, int n, int d)
{
    double most = -INFINITY, total = 0;
    for (int j = 0; j < n; j++) {
        r->scores[j] = dot(query, r->keys[j], d) / sqrt(d);
        most = fmax(most, r->scores[j]);
    }
    memset(r->sum, 0, d * sizeof *r->sum);
    for (int j = 0; j < n; j++) {
        double weight = exp(r->scores[j] - most);
        total += weight;
        for (int i = 0; i < d; i++)
            r->sum[i] += weight * r->values[j][i];
    }
    for (int i = 0; i < d; i++)
        out[i] = (float)(r->sum[i] / total);
    return most + log(total);
}

/* Where state i's query (part 0), key (1) or value (2) of one head starts in qkv. */
static size_t part(const struct attention_shape *s, int n, int i, int which, int head)
{
    return ((((size_t)n * s->states + i) * 3 + which) * s->heads + head) * s->head_dim;
}

static void attention(struct tensor out_t, struct tensor lse_t, struct tensor qkv_t, const struct attention_shape *s)
{
    float *out = out_t.data, *lse = lse_t.data;
    const float *qkv = qkv_t.data;
    int *seen = xmalloc(s->states * sizeof *seen);
    struct row row = row_new(s->states, s->head_dim);
    for (int n = 0; n < s->batch; n++)
        for (int i = 0; i < s->states; i++) {
            int count = visible_states(seen, i, s);
            for (int head = 0; head < s->heads; head++) {
                for (int j = 0; j < count; j++) {
                    row.keys[j] = qkv + part(s, n, seen[j], 1, head);
                    row.values[j] = qkv + part(s, n, seen[j], 2, head);
                }
                size_t query = ((size_t)n * s->states + i) * s->heads + head;
                lse[((size_t)n * s->heads + head) * s->states + i] =
                    (float)attend(out + query * s->head_dim, qkv + part(s, n, i, 0, head), &row, count, s->head_dim);
            }
        }
    row_free(&row);
    free(seen);
}

/* One query's share of dqkv. The softmax's weights come back from lse. */
static void attend_backward(float *dqkv, const float *dout, const float *out, double lse, const float *qkv, int n,
                            int query, int head, const int *seen, int count, const struct attention_shape *s)
{
    int d = s->head_dim;
    const float *q = qkv + part(s, n, query, 0, head);
    float *dq = dqkv + part(s, n, query, 0, head);
    double mean = dot(dout, out, d); /* of the gradients of the weights, weighted by them */
    for (int j = 0; j < count; j++) {
        size_t key = part(s, n, seen[j], 1, head), value = part(s, n, seen[j], 2, head);
        double weight = exp(dot(q, qkv + key, d) / sqrt(d) - lse);
        double dscore = weight * (dot(dout, qkv + value, d) - mean) / sqrt(d);
        for (int i = 0; i < d; i++) {
            dqkv[value + i] += (float)(weight * dout[i]);
            dqkv[key + i] += (float)(dscore * q[i]);
            dq[i] += (float)(dscore * qkv[key + i]);
        }
    }
}

static void attention_backward(struct tensor dqkv_t, struct tensor dout_t, struct tensor qkv_t, struct tensor out_t,
                               struct tensor lse_t, const struct attention_shape *s)
{
    const float *dout = dout_t.data, *out = out_t.data, *lse = lse_t.data;
    int *seen = xmalloc(s->states * sizeof *seen);
    memset(dqkv_t.data, 0, (size_t)s->batch * s->states * 3 * s->heads * s->head_dim * sizeof(float));
    for (int n = 0; n < s->batch; n++)
        for (int i = 0; i < s->states; i++) {
            int count = visible_states(seen, i, s);
            for (int head = 0; head < s->heads; head++) {
                size_t query = (((size_t)n * s->states + i) * s->heads + head) * s->head_dim;
                attend_backward(dqkv_t.data, dout + query, out + query,
                                lse[((size_t)n * s->heads + head) * s->states + i], qkv_t.data, n, i, head, seen, count,
                                s);
            }
        }
    free(seen);
}

static void attention_step(struct tensor out_t, struct tensor qkv_t, struct tensor prefix_t, struct tensor cache_t,
                           struct tensor position, const struct attention_shape *s)
{
    int p = *(const int32_t *)position.data;
    int window = attention_window(s->mask, s->grid, s->kernel), d = s->head_dim, width = s->heads * d;
    const float *prefix = prefix_t.data;
    int *seen = xmalloc((p + 1) * sizeof *seen), count = visible_positions(seen, p, s);
    struct row row = row_new(s->prefix + count, d);
    for (int n = 0; n < s->batch; n++) {
        const float *query = (const float *)qkv_t.data + (size_t)n * 3 * width;
        float *cache = (float *)cache_t.data + (size_t)n * window * 2 * width;
        memcpy(cache + (size_t)(p % window) * 2 * width, query + width, 2 * width * sizeof(float));
        for (int head = 0; head < s->heads; head++) {
            for (int j = 0; j < s->prefix; j++) {
                row.keys[j] = prefix + ((size_t)j * 3 + 1) * width + head * d;
                row.values[j] = row.keys[j] + width;
            }
            for (int j = 0; j < count; j++) {
                row.keys[s->prefix + j] = cache + (size_t)(seen[j] % window) * 2 * width + head * d;
                row.values[s->prefix + j] = row.keys[s->prefix + j] + width;
            }
            attend((float *)out_t.data + (size_t)n * width + head * d, query + head * d, &row, s->prefix + count, d);
        }
    }
    row_free(&row);
    free(seen);
}

void plain_attention(struct kernels *k)
{
    k->attention = attention;
    k->attention_backward = attention_backward;
    k->attention_step = attention_step;
}
