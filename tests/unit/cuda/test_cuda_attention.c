/*
 * The CUDA table against the plain one: attention.
 */
#include "compare_cuda.h"
#include "tests/unit/kernels/operations_attention.h"

int main(void)
{
    return compare_cuda_all(ATTENTION_OPERATIONS, sizeof ATTENTION_OPERATIONS / sizeof *ATTENTION_OPERATIONS);
}
