/*
 * A register tile, for tile.c alone, which includes this once for each width: function TILE takes up to ROWS rows and
 * VECTORS vectors of LANES columns. The sums live in registers while the summed index runs.
 */

/* rows is a constant where this is expanded. */
static inline __attribute__((always_inline)) void FN_EXPAND(tile, TILE)(const int rows, const struct block *t,
                                                                        const float *a, const float *b,
                                                                        const float *start, float *c)
{
    typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
    lanes sum[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            sum[i][v] = start ? *(const lanes *)(start + i * t->start_row + v * LANES) : (lanes){0};
    const ptrdiff_t a_row = t->a_row, a_col = t->a_col, b_row = t->b_row;
    for (int o = 0; o < t->outer; o++) {
        const float *x = a + o * t->a_outer;
        for (int k = 0; k < t->depth; k++, x += a_col, b += b_row) {
            lanes y[VECTORS];
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++)
                y[v] = *(const lanes *)(b + v * LANES);
#pragma GCC unroll 8
            for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
                for (int v = 0; v < VECTORS; v++)
                    sum[i][v] += x[i * a_row] * y[v];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            *(lanes *)(c + i * t->c_row + v * LANES) = sum[i][v];
}

static void TILE(int rows, const struct block *t, const float *a, const float *b, const float *start, float *c)
{
    switch (rows) {
    case 1:
        return FN_EXPAND(tile, TILE)(1, t, a, b, start, c);
    case 2:
        return FN_EXPAND(tile, TILE)(2, t, a, b, start, c);
    case 3:
        return FN_EXPAND(tile, TILE)(3, t, a, b, start, c);
    case 4:
        return FN_EXPAND(tile, TILE)(4, t, a, b, start, c);
    case 5:
        return FN_EXPAND(tile, TILE)(5, t, a, b, start, c);
#if ROWS > 6
    case 6:
        return FN_EXPAND(tile, TILE)(6, t, a, b, start, c);
    case 7:
        return FN_EXPAND(tile, TILE)(7, t, a, b, start, c);
#endif
    default:
        return FN_EXPAND(tile, TILE)(ROWS, t, a, b, start, c);
    }
}

#undef TILE
#undef LANES
#undef VECTORS
#undef ROWS
