#!/usr/bin/env python3
"""What a sidecar that sees 2000 services costs at a real Envoy (docs/performance.md).

Its memory and CPU time when it has loaded everything, with the bootstrap as printed and without deferredStatOptions: minimum,
median and maximum over the runs. Needs `make tools` for Envoy, and release builds of umbra and umbra-load.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
XDS, ADMIN, ENVOY_ADMIN = 25010, 25014, 25000


def metrics() -> dict[str, float]:
    text = urllib.request.urlopen(f"http://127.0.0.1:{ADMIN}/metrics", timeout=5).read().decode()
    return {k: float(v) for k, v in re.findall(r"^([a-z_]+(?:\{[^}]*\})?) ([0-9.e+-]+)$", text, re.M)}


def wait(what: str, condition, seconds: float = 60.0, pause: float = 0.001):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if (value := condition()):
                return value
        except OSError:
            pass
        time.sleep(pause)
    sys.exit(f"figures: {what} did not happen within {seconds} s")


def spread(values: list[float], unit: str, digits: int = 0) -> str:
    low, mid, high = min(values), statistics.median(values), max(values)
    return f"{low:.{digits}f} / {mid:.{digits}f} / {high:.{digits}f} {unit}"


def proxy(args: argparse.Namespace, envoy: str, work: pathlib.Path) -> None:
    mesh = work / "wide"
    subprocess.check_call([args.load, "world", str(mesh), "--services", "2000", "--endpoints", "1", "--rules", "0", "--mirrors", "0"])
    with open(work / "proxy.log", "w") as log:
        umbra = subprocess.Popen([args.umbra, "serve", "--dir", str(mesh), "--xds", f"127.0.0.1:{XDS}",
                                  "--admin", f"127.0.0.1:{ADMIN}"], stderr=log, stdout=log)
        try:
            wait("readiness", lambda: metrics().get("umbra_ready") == 1)
            bootstrap = json.loads(subprocess.check_output(
                [args.umbra, "bootstrap", "--proxy", "sidecar/ns-0/app=client", "--server", f"127.0.0.1:{XDS}",
                 "--envoy-admin", f"127.0.0.1:{ENVOY_ADMIN}", "-o", "json"], text=True))
            for name, deferred in (("as printed", True), ("without deferredStatOptions", False)):
                if not deferred:
                    del bootstrap["deferredStatOptions"]
                file = work / "wide.json"
                file.write_text(json.dumps(bootstrap))
                resident, cpu = [], []
                for _ in range(args.runs):
                    child = subprocess.Popen([envoy, "-c", str(file), "--service-node", "figures", "--disable-hot-restart",
                                              "--concurrency", "1", "-l", "warning"], stderr=log, stdout=log)
                    try:
                        admin = f"http://127.0.0.1:{ENVOY_ADMIN}"
                        wait("a LIVE Envoy", lambda: urllib.request.urlopen(f"{admin}/ready", timeout=5).status == 200)
                        fields = pathlib.Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()
                        cpu.append((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
                        status = pathlib.Path(f"/proc/{child.pid}/status").read_text()
                        resident.append(int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024)
                    finally:
                        child.terminate()
                        child.wait()
                print(f"proxy of 2000 services, {name}: resident {spread(resident, 'MiB', 1)}; CPU {spread(cpu, 's', 2)}")
        finally:
            umbra.terminate()
            umbra.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--umbra", default=str(ROOT / "target/release/umbra"))
    parser.add_argument("--load", default=str(ROOT / "target/release/umbra-load"))
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    envoy = subprocess.check_output([sys.executable, str(ROOT / "tests/tools/fetch_envoy.py")], text=True).strip()
    work = pathlib.Path(tempfile.mkdtemp(prefix="umbra-figures-"))
    try:
        proxy(args, envoy, work)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
