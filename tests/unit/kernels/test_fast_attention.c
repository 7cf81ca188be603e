/*
 * The fast tables against the plain one: attention under each mask.
 */
#include "operations_attention.h"

int main(void)
{
    return compare_all(ATTENTION_OPERATIONS, sizeof ATTENTION_OPERATIONS / sizeof *ATTENTION_OPERATIONS);
}
