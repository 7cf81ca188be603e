#!/usr/bin/env bash
# Runs under faults, the short list: what dies, stops, joins and leaves loses nothing.
exec "$(dirname "$0")/../fault/run.sh" short
