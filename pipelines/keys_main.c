/*
 * atelier-keys DIR: makes the keys with which links between hosts are protected (link.h says what is in DIR).
 *
 *     atelier keys ~/keys && scp -rp ~/keys other:
 *     atelier queue --in tcp://10.0.0.1:5555 --out tcp://10.0.0.1:5556 --keys ~/keys
 */
#include "common/err.h"
#include "common/link.h"
#include "common/log.h"
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    bool help = argc == 2 && strcmp(argv[1], "--help") == 0;
    if (argc != 2 || argv[1][0] == '-') {
        fputs(
            "Usage: atelier-keys DIR\nMake keys for links between hosts. DIR/key is this host's; DIR/allowed lists the "
            "public keys that are admitted;\nDIR/server is the public key of the end that binds. Copy DIR to each "
            "host, or make one on each and exchange the public keys.\n",
            help ? stdout : stderr);
        return help ? 0 : ERR_USAGE;
    }
    log_open("keys", false);
    if (link_keys_make(argv[1]) == 0)
        return 0;
    log_error("%s", err_text());
    return err_code();
}
