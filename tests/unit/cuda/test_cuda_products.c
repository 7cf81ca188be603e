/*
 * The CUDA table against the plain one: matrix products, convolutions, pictures.
 */
#include "compare_cuda.h"
#include "tests/unit/kernels/operations_products.h"

int main(void)
{
    return compare_cuda_all(PRODUCT_OPERATIONS, sizeof PRODUCT_OPERATIONS / sizeof *PRODUCT_OPERATIONS);
}
