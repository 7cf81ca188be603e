/*
 * libFuzzer: the store's own formats. The first byte picks a value, whose checksum is put right first, meta.json, or a
 * shard's checksum file. (Its pages are LMDB's: tests/fault/flips.sh.)
 */
#include "common/crc32c.h"
#include "common/store_private.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/tmp/fuzz-store-XXXXXX";

static void read_value(const uint8_t *data, size_t size)
{
    const uint64_t id = 7;
    struct record r = {0}, again = {0};
    struct buf value = {0}, packed = {0};
    buf_append(&value, data, size);
    if (size >= 4) {
        uint32_t crc = crc32c(crc32c(0, &id, sizeof id), value.data + 4, size - 4);
        memcpy(value.data, &crc, sizeof crc);
    }
    if (store_value_unpack(id, value.data, value.len, &r) == 0) {
        if (r.id != id)
            abort();
        store_value_pack(&r, &packed);
        if (store_value_unpack(id, packed.data, packed.len, &again) < 0)
            abort();
    }
    buf_free(&value);
    buf_free(&packed);
    record_free(&r);
    record_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"meta.json", "000000.sum"};
    static bool made;
    if (size == 0)
        return 0;
    if (data[0] % 3 == 0) {
        read_value(data + 1, size - 1);
        return 0;
    }
    if (!made && (!mkdtemp(dir) || chdir(dir) < 0 || file_write("000000.mdb", "page", 4) < 0))
        abort();
    made = true;
    FILE *f = fopen(names[data[0] % 3 - 1], "wb");
    fwrite(data + 1, 1, size - 1, f);
    fclose(f);
    struct store_meta meta = {0};
    if (data[0] % 3 == 1 && store_meta_read(&meta, ".") > 0)
        free(meta.run);
    if (data[0] % 3 == 2)
        sum_check("000000.mdb");
    return 0;
}
