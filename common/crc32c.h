/*
 * CRC-32C (Castagnoli, as in iSCSI and ext4): the checksum of streams and of the store.
 */
#ifndef ATELIER_COMMON_CRC32C_H
#define ATELIER_COMMON_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of what `crc` covers (0: nothing yet) followed by `data`. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

/* The table version of the same: for processors without SSE 4.2 and PCLMUL, and to test the other against. */
uint32_t crc32c_table(uint32_t crc, const void *data, size_t len);

#endif
