#!/usr/bin/env bash
# Installs those of the named Debian packages that are missing: as root, or through sudo without asking; otherwise prints the line to run.
set -eu
missing=()
for package in "$@"; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
install="apt-get install -y -qq --no-install-recommends ${missing[*]}"
if [ "$(id -u)" = 0 ]; then
    apt-get update -qq && $install >/dev/null
elif sudo -n true 2>/dev/null; then
    sudo -n apt-get update -qq && sudo -n DEBIAN_FRONTEND=noninteractive $install >/dev/null
else
    echo "packages are missing; run:  sudo apt-get update && sudo $install" >&2
    exit 1
fi
