#!/usr/bin/env python3
"""First figures: 1000 services x 10 endpoints, 200 rules, 100 mirrors (docs/performance.md).

Measures, with a release build on this machine:
  dump    wall time and peak memory of `umbra dump` for one sidecar, and the size of what it gets
  serve   with one real Envoy connected: peak memory, and for one endpoint changed and for one percentage changed
          the time from the rename of the file to the ACK of the proxy, and how many keys were computed again
  proxy   what a sidecar that sees 2000 services costs at the Envoy: its memory and CPU time when it has loaded everything,
          with the bootstrap as printed and without deferredStatOptions
Prints minimum, median and maximum over the runs. Needs `make tools` for Envoy.
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


def dump(umbra: str, mesh: pathlib.Path, runs: int) -> None:
    walls, peaks = [], []
    for _ in range(runs):
        start = time.monotonic()
        child = subprocess.Popen([umbra, "dump", "--dir", str(mesh), "--proxy", "sidecar/ns-0/app=client", "-o", "json"],
                                 stdout=subprocess.PIPE)
        text = child.stdout.read()
        _, _, usage = os.wait4(child.pid, 0)
        walls.append((time.monotonic() - start) * 1000)
        peaks.append(usage.ru_maxrss / 1024)
    sizes = {k: len(v) for k, v in json.loads(text).items()}
    print(f"dump: wall {spread(walls, 'ms')}; peak memory {spread(peaks, 'MiB', 1)}; {sizes}")


def change(mesh: pathlib.Path, file: str, edits: list[tuple[str, str]], ack: str, runs: int, name: str) -> None:
    times, keys = [], []
    path = mesh / file
    for run in range(runs):
        old, new = edits[run % len(edits)]
        text = path.read_text()
        assert old in text, (file, old)
        before = metrics()
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text.replace(old, new, 1))
        start = time.monotonic()
        os.replace(temporary, path)
        after = wait(f"the ACK for {name}", lambda: (m := metrics()).get(ack, 0) > before.get(ack, 0) and m)
        times.append((time.monotonic() - start) * 1000)
        keys.append(after["umbra_keys_recomputed_total"] - before["umbra_keys_recomputed_total"])
    print(f"serve, {name}: rename to ACK {spread(times, 'ms', 1)}; keys computed {spread(keys, '')}")


def proxy(args: argparse.Namespace, envoy: str, work: pathlib.Path) -> None:
    mesh = work / "wide"
    subprocess.check_call([sys.executable, str(ROOT / "tests/tools/make_mesh.py"), str(mesh), "--services", "2000",
                           "--endpoints", "1", "--rules", "0", "--mirrors", "0"])
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
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=["mesh", "proxy"], default=["mesh", "proxy"])
    args = parser.parse_args()
    envoy = subprocess.check_output([sys.executable, str(ROOT / "tests/tools/fetch_envoy.py")], text=True).strip()
    work = pathlib.Path(tempfile.mkdtemp(prefix="umbra-figures-"))
    children = []
    try:
        if "proxy" in args.parts:
            proxy(args, envoy, work)
        if "mesh" not in args.parts:
            return
        mesh = work / "mesh"
        subprocess.check_call([sys.executable, str(ROOT / "tests/tools/make_mesh.py"), str(mesh)])
        dump(args.umbra, mesh, args.runs)
        log = open(work / "umbra.log", "w")
        start = time.monotonic()
        umbra = subprocess.Popen([args.umbra, "serve", "--dir", str(mesh), "--xds", f"127.0.0.1:{XDS}",
                                  "--admin", f"127.0.0.1:{ADMIN}"], stderr=log, stdout=log)
        children.append(umbra)
        wait("readiness", lambda: metrics().get("umbra_ready") == 1)
        print(f"serve: ready after {(time.monotonic() - start) * 1000:.0f} ms")
        bootstrap = work / "envoy.yaml"
        bootstrap.write_text(subprocess.check_output(
            [args.umbra, "bootstrap", "--proxy", "sidecar/ns-0/app=client", "--server", f"127.0.0.1:{XDS}",
             "--envoy-admin", f"127.0.0.1:{ENVOY_ADMIN}"], text=True))
        children.append(subprocess.Popen([envoy, "-c", str(bootstrap), "--service-node", "figures", "--disable-hot-restart",
                                          "--concurrency", "1", "-l", "warning"], stderr=log, stdout=log))
        ready = f"http://127.0.0.1:{ENVOY_ADMIN}/ready"
        wait("a LIVE Envoy", lambda: urllib.request.urlopen(ready, timeout=5).status == 200)
        wait("quiet", lambda: metrics().get('umbra_xds_acks_total{type="rds"}', 0) >= 1)
        change(mesh, "svc-3.yaml", [("addresses: [10.0.3.1]", "addresses: [10.0.3.77]"),
                                    ("addresses: [10.0.3.77]", "addresses: [10.0.3.1]")],
               'umbra_xds_acks_total{type="eds"}', args.runs, "one endpoint")
        change(mesh, "svc-4.yaml", [("value: 10", "value: 20"), ("value: 20", "value: 10")],
               'umbra_xds_acks_total{type="rtds"}', args.runs, "one percentage")
        peak = re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{umbra.pid}/status").read_text())
        print(f"serve: peak memory {int(peak.group(1)) / 1024:.1f} MiB with one proxy")
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait()
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
