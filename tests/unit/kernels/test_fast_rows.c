/*
 * The fast tables against the plain one: elementwise operations, and those that treat rows alike.
 */
#include "operations_rows.h"

int main(void)
{
    return compare_all(ROW_OPERATIONS, sizeof ROW_OPERATIONS / sizeof *ROW_OPERATIONS);
}
