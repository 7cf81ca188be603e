/*
 * libFuzzer target: bytes from outside as a record. The first byte's lowest bit chooses msgpack or JSON. What is
 * accepted must pack, unpack and print as itself.
 */
#include "common/record.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct record r = {0}, again = {0};
    struct buf packed = {0}, repacked = {0}, json = {0};
    if (size == 0)
        return 0;
    int result =
        data[0] & 1 ? record_from_json(&r, (const char *)data + 1, size - 1) : record_unpack(&r, data + 1, size - 1);
    if (result == 0) {
        record_pack(&r, &packed);
        if (record_unpack(&again, packed.data, packed.len) < 0)
            abort();
        record_pack(&again, &repacked);
        if (packed.len != repacked.len || memcmp(packed.data, repacked.data, packed.len) != 0)
            abort();
        record_to_json(&r, &json);
        if (record_from_json(&again, (const char *)json.data, json.len) < 0)
            abort();
    }
    record_free(&r);
    record_free(&again);
    buf_free(&packed);
    buf_free(&repacked);
    buf_free(&json);
    return 0;
}
