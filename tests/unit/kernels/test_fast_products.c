/*
 * The fast tables against the plain one: matrix products, convolutions, pictures.
 */
#include "operations_products.h"

int main(void)
{
    return compare_all(PRODUCT_OPERATIONS, sizeof PRODUCT_OPERATIONS / sizeof *PRODUCT_OPERATIONS);
}
