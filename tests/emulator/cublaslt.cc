/*
 * cuBLASLt's products in loops. Matrices are column by column, as there.
 */
#include "emulator_mma.h"
#include "tests/emulator/internal.h"
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <vector>

struct emulator_matmul {
    cublasComputeType_t compute;
    cublasOperation_t transpose[2];
    cublasLtEpilogue_t epilogue;
    void *bias, *aux;
    int64_t aux_ld;
};

struct emulator_layout {
    cudaDataType_t type;
    size_t rows, columns, ld;
};

struct emulator_preference {
    size_t set[6]; /* by attribute; 1 to 4: alignments */
};

static bool epilogues = true;

void emulator_set_epilogues(bool on)
{
    epilogues = on;
}

static float get(const void *p, cudaDataType_t type, size_t i)
{
    switch (type) {
    case CUDA_R_16BF:
        return __bfloat162float(((const __nv_bfloat16 *)p)[i]);
    case CUDA_R_16F:
        return __half2float(((const __half *)p)[i]);
    default:
        return ((const float *)p)[i];
    }
}

static void put(void *p, cudaDataType_t type, size_t i, float x)
{
    switch (type) {
    case CUDA_R_16BF:
        ((__nv_bfloat16 *)p)[i] = __float2bfloat16_rn(x);
        break;
    case CUDA_R_16F:
        ((__half *)p)[i] = __float2half_rn(x);
        break;
    default:
        ((float *)p)[i] = x;
    }
}

const char *cublasGetStatusString(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_NOT_SUPPORTED ? "not supported" : "invalid value";
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle = nullptr;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t compute, cudaDataType_t)
{
    *d = new emulator_matmul{compute, {CUBLAS_OP_N, CUBLAS_OP_N}, CUBLASLT_EPILOGUE_DEFAULT, nullptr, nullptr, 0};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t which,
                                              const void *value, size_t bytes)
{
    switch (which) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
        memcpy(&d->transpose[0], value, bytes);
        break;
    case CUBLASLT_MATMUL_DESC_TRANSB:
        memcpy(&d->transpose[1], value, bytes);
        break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        memcpy(&d->epilogue, value, bytes);
        break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        memcpy(&d->bias, value, bytes);
        break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER:
        memcpy(&d->aux, value, bytes);
        break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD:
        memcpy(&d->aux_ld, value, bytes);
        break;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d)
{
    delete d;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType_t type, uint64_t rows, uint64_t cols,
                                          int64_t ld)
{
    if (!rows || !cols || (uint64_t)ld < rows)
        return CUBLAS_STATUS_INVALID_VALUE;
    *l = new emulator_layout{type, rows, cols, (size_t)ld};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l)
{
    delete l;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p)
{
    *p = new emulator_preference{{0, 256, 256, 256, 256, 0}};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                    cublasLtMatmulPreferenceAttributes_t which, const void *value,
                                                    size_t bytes)
{
    p->set[which] = 0;
    memcpy(&p->set[which], value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p)
{
    delete p;
    return CUBLAS_STATUS_SUCCESS;
}

/* The types that the library's table of CUBLAS_COMPUTE_32F has: a and b alike, c and d alike, these as those or F32. */
static bool supported(cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                      cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t out)
{
    return a->type == b->type && c->type == out->type && (out->type == a->type || out->type == CUDA_R_32F) &&
           (epilogues || d->epilogue == CUBLASLT_EPILOGUE_DEFAULT);
}

/* The algorithm is made of the least alignments asked for, which cublasLtMatmul holds pointers against. */
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                              cublasLtMatrixLayout_t out, cublasLtMatmulPreference_t p, int wanted,
                                              cublasLtMatmulHeuristicResult_t *results, int *count)
{
    *count = supported(d, a, b, c, out) && wanted > 0;
    if (*count == 0)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    int which = 0;
    for (int i = 1; i < 5; i++)
        which |= __builtin_ctzl(p->set[i]) << 4 * i;
    results[0] = {{which}, 0, CUBLAS_STATUS_SUCCESS};
    return CUBLAS_STATUS_SUCCESS;
}

static float gelu(float x)
{
    return 0.5f * x * (1 + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
}

static float gelu_derivative(float x)
{
    float t = tanhf(0.7978845608f * (x + 0.044715f * x * x * x));
    return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * 0.7978845608f * (1 + 3 * 0.044715f * x * x);
}

/* op(x) as floats: [columns][rows], rows together. */
static std::vector<float> gathered(const void *x, const struct emulator_layout &l, bool transpose, bool tf32)
{
    std::vector<float> all(l.rows * l.columns);
    for (size_t j = 0; j < l.columns; j++)
        for (size_t i = 0; i < l.rows; i++) {
            float value = get(x, l.type, j * l.ld + i);
            all[transpose ? i * l.columns + j : j * l.rows + i] = tf32 ? __uint_as_float(tf32_round(value)) : value;
        }
    return all;
}

__attribute__((target_clones("avx2", "default"))) static void add_scaled(float *sum, const float *x, float by, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum[i] += by * x[i];
}

struct call {
    struct emulator_matmul d;
    struct emulator_layout a_layout, b_layout, layout;
    float alpha, beta;
    const void *a, *b, *c;
    void *out;
};

static void multiply(const struct call &call)
{
    const struct emulator_matmul &d = call.d;
    bool tf32 = d.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    size_t m = call.layout.rows, n = call.layout.columns;
    size_t k = d.transpose[0] ? call.a_layout.rows : call.a_layout.columns;
    std::vector<float> a = gathered(call.a, call.a_layout, d.transpose[0], tf32), sum(m);
    std::vector<double> bias_gradient(m);
    std::vector<float> b = gathered(call.b, call.b_layout, d.transpose[1], tf32);
    for (size_t j = 0; j < n; j++) {
        std::fill(sum.begin(), sum.end(), 0.0f);
        for (size_t p = 0; p < k; p++)
            add_scaled(sum.data(), &a[p * m], b[j * k + p], m);
        for (size_t i = 0; i < m; i++) {
            float x = call.alpha * sum[i];
            if (call.beta != 0)
                x += call.beta * get(call.c, call.layout.type, j * call.layout.ld + i);
            if (d.epilogue & CUBLASLT_EPILOGUE_BIAS)
                x += get(d.bias, call.layout.type, i);
            if (d.epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS)
                put(d.aux, call.layout.type, j * (size_t)d.aux_ld + i, x);
            if (d.epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS || d.epilogue == CUBLASLT_EPILOGUE_GELU_BIAS)
                x = gelu(x);
            if (d.epilogue == CUBLASLT_EPILOGUE_DGELU_BGRAD) {
                x *= gelu_derivative(get(d.aux, call.layout.type, j * (size_t)d.aux_ld + i));
                bias_gradient[i] += x;
            }
            put(call.out, call.layout.type, j * call.layout.ld + i, x);
        }
    }
    for (size_t i = 0; d.epilogue == CUBLASLT_EPILOGUE_DGELU_BGRAD && i < m; i++)
        put(d.bias, call.layout.type, i, (float)bias_gradient[i]);
    for (size_t j = 0; d.epilogue == CUBLASLT_EPILOGUE_BGRADB && j < n; j++) {
        double total = 0;
        for (size_t p = 0; p < k; p++)
            total += b[j * k + p];
        put(d.bias, call.layout.type, j, (float)total);
    }
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t d, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout,
                              const void *beta, const void *c, cublasLtMatrixLayout_t c_layout, void *out,
                              cublasLtMatrixLayout_t out_layout, const cublasLtMatmulAlgo_t *algo, void *, size_t,
                              cudaStream_t stream)
{
    const void *pointers[] = {a, b, c, out};
    for (int i = 0; i < 4; i++)
        if ((uintptr_t)pointers[i] % (1u << (algo->which >> 4 * (i + 1) & 15)))
            emulator_fail("cublasLtMatmul: matrix %d is not aligned as its algorithm was asked for", i);
    if (d->aux && ((uintptr_t)d->aux % 16 || d->aux_ld % 8))
        emulator_fail("cublasLtMatmul: the epilogue's matrix is not aligned");
    size_t m = a_layout->rows, k = a_layout->columns, k2 = b_layout->rows, n = b_layout->columns;
    if (d->transpose[0])
        std::swap(m, k);
    if (d->transpose[1])
        std::swap(k2, n);
    if (!supported(d, a_layout, b_layout, c_layout, out_layout) || k != k2 || out_layout->rows != m ||
        out_layout->columns != n || c_layout->ld != out_layout->ld)
        return CUBLAS_STATUS_INVALID_VALUE;
    struct call call = {*d, *a_layout, *b_layout, *out_layout, *(const float *)alpha, *(const float *)beta,
                        a,  b,         c,         out};
    emulator_submit(stream, [=] { multiply(call); });
    return CUBLAS_STATUS_SUCCESS;
}
