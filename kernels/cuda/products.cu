/*
 * CUDA kernels: matrix products, by cuBLASLt.
 *
 * Both factors have one type, sums are in F32. Factors that differ are cast first, to the type of the weights in a
 * linear layer and to F32 in a plain product; a result that cuBLASLt does not give in its type is cast after. Products
 * of F32 are in full precision where the table computes in F32, and on tensor cores (TF32) where it computes in 16
 * bits: there only the heads and the embeddings are F32. cuBLASLt's matrices are column by column, ours row by row,
 * which is their transpose: c = a b is c' = b' a'.
 */
#include "kernels/cuda/device.h"
#include <cstdio>
#include <cstdlib>
#include <cublasLt.h>
#include <vector>

enum {
    WORKSPACE = 64 << 20 /* bytes: what NVIDIA advises for compute capability 9.0, twice */,
    ALIGNED = 256,
    GRID_Y = 65535
};

static cublasLtHandle_t handle;
static void *workspace;

static void check(cublasStatus_t status, const char *what)
{
    if (status == CUBLAS_STATUS_SUCCESS)
        return;
    fprintf(stderr, "cuda: %s: %s\n", what, cublasGetStatusString(status));
    exit(ERR_IO);
}

/* What cuBLASLt chooses an algorithm by: c [m, n] = op(a) op(b). */
struct product {
    int m, n, k;
    bool ta, tb;
    enum dtype in, out;
    cublasComputeType_t compute;
    cublasLtEpilogue_t epilogue;
    unsigned a_align, b_align, c_align; /* bytes */
};

struct choice {
    struct product product;
    bool found;
    cublasLtMatmulAlgo_t algo;
};

static std::vector<struct choice> choices;

static void check_product(cublasStatus_t status, const struct product *p)
{
    if (status == CUBLAS_STATUS_SUCCESS)
        return;
    fprintf(stderr, "cuda: product of [%d, %d]%s and [%d, %d]%s, %zu and %zu bytes an element: %s\n", p->m, p->k,
            p->ta ? " transposed" : "", p->k, p->n, p->tb ? " transposed" : "", dtype_size(p->in), dtype_size(p->out),
            cublasGetStatusString(status));
    exit(ERR_IO);
}

static bool same(const struct product *p, const struct product *q)
{
    return p->m == q->m && p->n == q->n && p->k == q->k && p->ta == q->ta && p->tb == q->tb && p->in == q->in &&
           p->out == q->out && p->compute == q->compute && p->epilogue == q->epilogue && p->a_align == q->a_align &&
           p->b_align == q->b_align && p->c_align == q->c_align;
}

static unsigned alignment(const void *p)
{
    unsigned bytes = ALIGNED;
    while ((uintptr_t)p % bytes)
        bytes /= 2;
    return bytes;
}

static cudaDataType_t type_of(enum dtype dtype)
{
    return dtype == BF16 ? CUDA_R_16BF : dtype == F16 ? CUDA_R_16F : CUDA_R_32F;
}

/* How a product is said to cuBLASLt. */
struct descriptors {
    cublasLtMatmulDesc_t matmul;
    cublasLtMatrixLayout_t a, b, c;
};

/* The matrix that is [rows, columns] here, or its transpose in memory. */
static cublasLtMatrixLayout_t layout(enum dtype dtype, int rows, int columns, bool transposed)
{
    cublasLtMatrixLayout_t l;
    uint64_t height = (uint64_t)(transposed ? rows : columns), width = (uint64_t)(transposed ? columns : rows);
    check(cublasLtMatrixLayoutCreate(&l, type_of(dtype), height, width, (int64_t)height), "matrix layout");
    return l;
}

static void set(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t which, const void *value, size_t bytes)
{
    check(cublasLtMatmulDescSetAttribute(d, which, value, bytes), "product");
}

/* bias: what the epilogue adds, or writes the gradient of; pre: what it keeps, or reads, of the states before GELU. */
static struct descriptors describe(const struct product *p, const void *bias, const void *pre)
{
    struct descriptors d;
    cublasOperation_t first = p->tb ? CUBLAS_OP_T : CUBLAS_OP_N, second = p->ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    int64_t ld = p->n;
    check(cublasLtMatmulDescCreate(&d.matmul, p->compute, CUDA_R_32F), "product");
    set(d.matmul, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first);
    set(d.matmul, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second);
    set(d.matmul, CUBLASLT_MATMUL_DESC_EPILOGUE, &p->epilogue, sizeof p->epilogue);
    if (bias)
        set(d.matmul, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    if (pre) {
        set(d.matmul, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &pre, sizeof pre);
        set(d.matmul, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &ld, sizeof ld);
    }
    d.a = layout(p->in, p->k, p->n, p->tb);
    d.b = layout(p->in, p->m, p->k, p->ta);
    d.c = layout(p->out, p->m, p->n, false);
    return d;
}

static void destroy(struct descriptors *d)
{
    cublasLtMatmulDescDestroy(d->matmul);
    cublasLtMatrixLayoutDestroy(d->a);
    cublasLtMatrixLayoutDestroy(d->b);
    cublasLtMatrixLayoutDestroy(d->c);
}

/* The algorithm of a product; asked for once. */
static const struct choice *choose(const struct product *p, const struct descriptors *d)
{
    for (const struct choice &c : choices)
        if (same(&c.product, p))
            return &c;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t result;
    size_t bytes = WORKSPACE;
    uint32_t whole = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE; /* parts of a sum are not rounded to the result's type */
    int count = 0;
    check(cublasLtMatmulPreferenceCreate(&preference), "preference");
    const struct {
        cublasLtMatmulPreferenceAttributes_t which;
        unsigned bytes;
    } aligned[] = {{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, p->b_align},
                   {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, p->a_align},
                   {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, p->c_align},
                   {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, p->c_align}};
    check(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes,
                                               sizeof bytes),
          "preference");
    check(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &whole,
                                               sizeof whole),
          "preference");
    for (int i = 0; i < 4; i++)
        check(cublasLtMatmulPreferenceSetAttribute(preference, aligned[i].which, &aligned[i].bytes,
                                                   sizeof aligned[i].bytes),
              "preference");
    cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(handle, d->matmul, d->a, d->b, d->c, d->c, preference, 1, &result, &count);
    cublasLtMatmulPreferenceDestroy(preference);
    bool found = status == CUBLAS_STATUS_SUCCESS && count > 0;
    choices.push_back({*p, found, found ? result.algo : cublasLtMatmulAlgo_t()});
    return &choices.back();
}

/* y = alpha op(a) op(b) + beta c, c being like y. False: cuBLASLt does not do this product with its epilogue, and did
 * nothing; without an epilogue it does all. */
static bool multiply_onto(struct tensor y, struct tensor c, struct tensor a, struct tensor b,
                          const struct product *shape, float alpha, float beta, const void *bias, const void *pre)
{
    struct product p = *shape;
    p.in = a.dtype;
    p.out = y.dtype;
    p.a_align = alignment(a.data);
    p.b_align = alignment(b.data);
    p.c_align = min(min(alignment(y.data), alignment(c.data)), bias ? alignment(bias) : (unsigned)ALIGNED);
    struct descriptors d = describe(&p, bias, pre);
    const struct choice *choice = choose(&p, &d);
    cublasStatus_t status = CUBLAS_STATUS_NOT_SUPPORTED;
    if (choice->found)
        status = cublasLtMatmul(handle, d.matmul, &alpha, b.data, d.a, a.data, d.b, &beta, c.data, d.c, y.data, d.c,
                                &choice->algo, workspace, WORKSPACE, device_stream);
    destroy(&d);
    if (p.epilogue == CUBLASLT_EPILOGUE_DEFAULT)
        check_product(status, &p);
    return status == CUBLAS_STATUS_SUCCESS;
}

static bool multiply(struct tensor c, struct tensor a, struct tensor b, const struct product *shape, float alpha,
                     float beta, const void *bias, const void *pre)
{
    return multiply_onto(c, c, a, b, shape, alpha, beta, bias, pre);
}

/* One operation's scratch, given out part by part. */
struct parts {
    char *start;
};

static size_t part_bytes(size_t count, enum dtype dtype)
{
    return (count * dtype_size(dtype) + ALIGNED - 1) / ALIGNED * ALIGNED;
}

static struct tensor take(struct parts *parts, size_t count, enum dtype dtype)
{
    struct tensor t = {parts->start, dtype};
    parts->start += part_bytes(count, dtype);
    return t;
}

/* x as it is, or its copy of the type. */
static struct tensor as_type(struct parts *parts, struct tensor x, size_t count, enum dtype dtype)
{
    if (x.dtype == dtype)
        return x;
    struct tensor copy = take(parts, count, dtype);
    device_convert(copy, x, 1, count);
    return copy;
}

/* The type of sums' factors decides: where they are F32, `wide`. */
static struct product shape(int m, int n, int k, bool ta, bool tb, enum dtype in, cublasComputeType_t wide)
{
    return {m, n, k, ta, tb, in, in, in == F32 ? wide : CUBLAS_COMPUTE_32F, CUBLASLT_EPILOGUE_DEFAULT, 0, 0, 0};
}

/* Scratch that as_type takes. */
static size_t type_bytes(struct tensor x, size_t count, enum dtype dtype)
{
    return x.dtype == dtype ? 0 : part_bytes(count, dtype);
}

/* c = alpha op(a) op(b) + beta c, of any types, with factors of type p->in. */
static void multiply_any(struct tensor c, struct tensor a, struct tensor b, const struct product *p, float alpha,
                         float beta)
{
    size_t firsts = (size_t)p->m * p->k, seconds = (size_t)p->k * p->n, results = (size_t)p->m * p->n;
    bool direct = c.dtype == F32 || c.dtype == p->in;
    size_t bytes =
        type_bytes(a, firsts, p->in) + type_bytes(b, seconds, p->in) + (direct ? 0 : part_bytes(results, F32));
    struct parts parts = {bytes ? (char *)device_scratch(bytes) : NULL};
    a = as_type(&parts, a, firsts, p->in);
    b = as_type(&parts, b, seconds, p->in);
    struct tensor result = direct ? c : take(&parts, results, F32);
    if (!direct && beta != 0)
        device_convert(result, c, 1, results);
    multiply(result, a, b, p, alpha, beta, NULL, NULL);
    if (!direct)
        device_convert(c, result, 1, results);
}

template <cublasComputeType_t WIDE>
static void matmul(struct tensor c, struct tensor a, struct tensor b, int m, int n, int k, bool ta, bool tb,
                   float alpha, float beta)
{
    struct product p = shape(m, n, k, ta, tb, a.dtype == b.dtype ? a.dtype : F32, WIDE);
    multiply_any(c, a, b, &p, alpha, beta);
}

/* y [rows, n] += bias [n]. */
static __global__ void add_bias_kernel(struct tensor y, const float *bias, size_t n)
{
    size_t i = global_thread() * EACH;
    if (i >= n)
        return;
    struct tensor row = row_of(y, blockIdx.y, n);
    struct floats8 v = load8(row, i, n), more = load8({(void *)bias, F32}, i, n);
    for (int j = 0; j < EACH; j++)
        v.v[j] += more.v[j];
    store8(row, i, n, v);
}

/* Epilogues take bias in the result's type. */
static const void *bias_as(struct tensor bias, size_t n, enum dtype dtype)
{
    struct parts parts = {dtype == F32 ? NULL : (char *)device_scratch(part_bytes(n, dtype))};
    return as_type(&parts, bias, n, dtype).data;
}

static bool uniform(struct tensor y, struct tensor x, struct tensor w)
{
    return x.dtype == w.dtype && (y.dtype == w.dtype || y.dtype == F32);
}

template <cublasComputeType_t WIDE>
static void linear(struct tensor y, struct tensor x, struct tensor w, struct tensor bias, int rows, int in, int out)
{
    struct product p = shape(rows, out, in, false, true, w.dtype, WIDE);
    size_t n = (size_t)out;
    if (bias.data && uniform(y, x, w)) {
        struct product biased = p;
        biased.epilogue = CUBLASLT_EPILOGUE_BIAS;
        if (multiply(y, x, w, &biased, 1, 0, bias_as(bias, n, y.dtype), NULL))
            return;
    }
    multiply_any(y, x, w, &p, 1, 0);
    for (size_t r = 0; bias.data && r < (size_t)rows; r += GRID_Y)
        LAUNCH(add_bias_kernel, dim3(blocks_for(n, THREADS * EACH), (unsigned)min((size_t)rows - r, (size_t)GRID_Y)),
               THREADS, 0, device_stream, tensor_at(y, r * n), (const float *)bias.data, n);
}

template <cublasComputeType_t WIDE>
static void linear_add(struct tensor y, struct tensor base, struct tensor x, struct tensor w, struct tensor bias,
                       int rows, int in, int out)
{
    struct product p = shape(rows, out, in, false, true, w.dtype, WIDE);
    p.epilogue = CUBLASLT_EPILOGUE_BIAS;
    if (uniform(y, x, w) && base.dtype == y.dtype &&
        multiply_onto(y, base, x, w, &p, 1, 1, bias_as(bias, (size_t)out, y.dtype), NULL))
        return;
    linear<WIDE>(y, x, w, bias, rows, in, out);
    device_axpy(y, 1, base, (size_t)rows * out);
}

/* dw += dy' x; dbias += column sums of dy, by the way where the types are alike. */
static void weight_gradient(struct tensor dw, struct tensor dbias, struct tensor dy, struct tensor x,
                            const struct product *p)
{
    size_t n = (size_t)p->m;
    if (dbias.data && uniform(dw, dy, x) && x.dtype == p->in) {
        struct product summing = *p;
        struct parts parts = {(char *)device_scratch(part_bytes(n, F32) + part_bytes(n, dw.dtype))};
        struct tensor sums = take(&parts, n, dw.dtype);
        summing.epilogue = CUBLASLT_EPILOGUE_BGRADB;
        if (multiply(dw, dy, x, &summing, 1, 1, sums.data, NULL)) {
            sums = as_type(&parts, sums, n, F32);
            device_add_parts(dbias, (const float *)sums.data, 1, n, n, 1);
            return;
        }
    }
    multiply_any(dw, dy, x, p, 1, 1);
    if (dbias.data)
        device_add_column_sums(dbias, dy, (size_t)p->k, n, 1);
}

template <cublasComputeType_t WIDE>
static void linear_backward(struct tensor dx, struct tensor dw, struct tensor dbias, struct tensor dy, struct tensor x,
                            struct tensor w, int rows, int in, int out)
{
    struct product to_x = shape(rows, in, out, false, false, w.dtype, WIDE);
    struct product to_w = shape(out, in, rows, true, false, w.dtype, WIDE);
    if (dx.data)
        multiply_any(dx, dy, w, &to_x, 1, 0);
    weight_gradient(dw, dbias, dy, x, &to_w);
}

/* What cuBLASLt asks of the states before GELU; F32 would lose by its approximation of tanh. */
static bool fits_aux(struct tensor pre, int width)
{
    return pre.dtype != F32 && (uintptr_t)pre.data % 16 == 0 && width % 8 == 0;
}

template <cublasComputeType_t WIDE>
static void linear_act(enum activation kind, struct tensor y, struct tensor pre, struct tensor x, struct tensor w,
                       struct tensor bias, int rows, int in, int out)
{
    struct product p = shape(rows, out, in, false, true, w.dtype, WIDE);
    bool kept = y.data != pre.data;
    p.epilogue = kept ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_BIAS;
    if (kind == ACT_GELU && uniform(y, x, w) && pre.dtype == y.dtype && fits_aux(pre, out) &&
        multiply(y, x, w, &p, 1, 0, bias_as(bias, (size_t)out, y.dtype), kept ? pre.data : NULL))
        return;
    linear<WIDE>(pre, x, w, bias, rows, in, out);
    device_act(kind, y, pre, (size_t)rows * out);
}

template <cublasComputeType_t WIDE>
static void linear_act_backward(enum activation kind, struct tensor dpre, struct tensor dw, struct tensor dbias,
                                struct tensor dpre_bias, struct tensor dy, struct tensor x, struct tensor pre,
                                struct tensor w, int rows, int in, int out)
{
    struct product to_x = shape(rows, in, out, false, false, w.dtype, WIDE);
    struct product to_w = shape(out, in, rows, true, false, w.dtype, WIDE);
    size_t n = (size_t)in;
    weight_gradient(dw, dbias, dy, x, &to_w);
    to_x.epilogue = CUBLASLT_EPILOGUE_DGELU_BGRAD;
    if (kind == ACT_GELU && uniform(dpre, dy, w) && pre.dtype == dpre.dtype && fits_aux(pre, in)) {
        struct parts parts = {(char *)device_scratch(part_bytes(n, F32) + part_bytes(n, dpre.dtype))};
        struct tensor sums = take(&parts, n, dpre.dtype);
        if (multiply(dpre, dy, w, &to_x, 1, 0, sums.data, pre.data)) {
            sums = as_type(&parts, sums, n, F32);
            device_add_parts(dpre_bias, (const float *)sums.data, 1, n, n, 1);
            return;
        }
    }
    to_x.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    multiply_any(dpre, dy, w, &to_x, 1, 0);
    device_act_backward(kind, dpre, dpre, pre, (size_t)rows * in);
    device_add_column_sums(dpre_bias, dpre, (size_t)rows, n, 1);
}

template <cublasComputeType_t WIDE> static void fill(struct kernels *k)
{
    k->linear_add = linear_add<WIDE>;
    k->linear_act = linear_act<WIDE>;
    k->linear_act_backward = linear_act_backward<WIDE>;
    k->matmul = matmul<WIDE>;
    k->linear = linear<WIDE>;
    k->linear_backward = linear_backward<WIDE>;
}

void cuda_products(struct kernels *k)
{
    if (!workspace) {
        check(cublasLtCreate(&handle), "cuBLASLt");
        device_check(cudaMalloc(&workspace, WORKSPACE), "workspace");
    }
    if (k->compute == F32)
        fill<CUBLAS_COMPUTE_32F>(k);
    else
        fill<CUBLAS_COMPUTE_32F_FAST_TF32>(k);
}
