#!/usr/bin/env python3
"""Builds the Go programs that the tests start into .tools/bin, and copies the CRDs of their modules to .tools/crds.

Usage: build_go.py [SET ...], each SET one of kubernetes, kwok, flagger, argo-rollouts, istio, istiod; all of them but
istiod, which `make istiod` alone needs, without one.

Every set is a folder beside this file: its go.mod names the programs (`tool` lines), its go.sum pins all that they
are made of. Nothing happens for a set that is built already from these two files, nor for one whose programs are in
a folder that the set's environment variable names (UMBRA_KUBERNETES_BIN and so on; UMBRA_CRDS for the CRDs).
A first build of everything takes ten minutes on two cores and 4 GB of Go's caches.
Only the first that builds at a time works; a second one waits for it.
"""

import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
TOOLS = HERE.parents[1] / ".tools"
BIN, CRDS = TOOLS / "bin", TOOLS / "crds"

KUBERNETES = "1.33.13"
STAMP = "k8s.io/component-base/version"
# A plain build says v0.0.0-master, and some clients end at such a version.
VERSION = f"-X {STAMP}.gitVersion=v{KUBERNETES} -X {STAMP}.gitMajor=1 -X {STAMP}.gitMinor=33"

# Set: its programs by name, the minutes that a first build takes on two cores, its variable, and the CRDs that its
# modules ship: (module, pattern). Further flags of the build; `asked`: only who asks for it by name gets it.
SETS = {
    "kubernetes": {
        "programs": {
            "etcd": "go.etcd.io/etcd/server/v3",
            "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
            "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
            "kubectl": "k8s.io/kubernetes/cmd/kubectl",
            "helm": "helm.sh/helm/v3/cmd/helm",
        },
        "variable": "UMBRA_KUBERNETES_BIN",
        "minutes": 4.5,
    },
    "kwok": {"programs": {"kwok": "sigs.k8s.io/kwok/cmd/kwok"}, "variable": "UMBRA_KWOK_BIN",
             "minutes": 1},
    "flagger": {
        "programs": {"flagger": "github.com/fluxcd/flagger/cmd/flagger"},
        "variable": "UMBRA_FLAGGER_BIN",
        "minutes": 1.5,
        "crds": ("github.com/fluxcd/flagger", "artifacts/flagger/crd.yaml"),
    },
    "argo-rollouts": {
        "programs": {"rollouts-controller": "github.com/argoproj/argo-rollouts/cmd/rollouts-controller"},
        "variable": "UMBRA_ARGO_ROLLOUTS_BIN",
        "minutes": 2,
        "crds": ("github.com/argoproj/argo-rollouts", "manifests/crds/*-crd.yaml"),
    },
    "istio": {
        "programs": {},
        "crds": ("istio.io/api", "kubernetes/customresourcedefinitions.gen.yaml"),
    },
    "istiod": {
        "programs": {"pilot-discovery": "istio.io/istio/pilot/cmd/pilot-discovery"},
        "variable": "UMBRA_ISTIOD_BIN",
        "minutes": 15,
        "asked": True,
        # As Istio builds it: without the validation of Envoy's messages, which is most of their code.
        "flags": ["-tags", "disable_pgv", "-p", "2"],
    },
}


def say(message):
    print(f"build_go: {message}", file=sys.stderr, flush=True)


def fail(message):
    sys.exit(f"build_go: {message}")


def lock_hash(folder):
    """What a build depends on; a program is as new as the stamp that has this."""
    parts = [(folder / file).read_bytes() for file in ("go.mod", "go.sum")]
    return hashlib.sha256(b"\0".join([*parts, VERSION.encode()])).hexdigest()


def need_go():
    if shutil.which("go") is None:
        fail("no Go (1.24 or later) in PATH: install it from https://go.dev/dl, or name folders with the finished "
             "programs in " + ", ".join(s["variable"] for s in SETS.values() if "variable" in s) + ".")


def go(folder, *arguments, **options):
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    return subprocess.run(["go", *arguments], cwd=folder, env=environment, **options)


def build(folder, name, package, flags):
    """Builds one program; a line every half minute says that it is still at it."""
    BIN.mkdir(parents=True, exist_ok=True)
    half = BIN / f".{name}.half"
    say(f"building {name} ({package}) ...")
    start, done = time.monotonic(), threading.Event()

    def progress():
        while not done.wait(30):
            say(f"... {name}: {time.monotonic() - start:.0f} s so far (the first build is the slow one)")

    threading.Thread(target=progress, daemon=True).start()
    arguments = ["build", "-trimpath", f"-ldflags=-s -w {VERSION}", "-o", str(half), *flags, package]
    status = go(folder, *arguments).returncode
    done.set()
    if status != 0:
        fail(f"{package} did not build")
    # In one step, so that a half written program is never taken for the whole.
    half.replace(BIN / name)
    say(f"built {name} in {time.monotonic() - start:.0f} s")


def copy_crds(folder, name, module, pattern):
    CRDS.mkdir(parents=True, exist_ok=True)
    fetched = go(folder, "mod", "download", "-json", module, capture_output=True, text=True)
    if fetched.returncode != 0:
        fail(f"{module} could not be fetched:\n{fetched.stdout}{fetched.stderr}")
    files = sorted(pathlib.Path(json.loads(fetched.stdout)["Dir"]).glob(pattern))
    if not files:
        fail(f"{module} has no {pattern}")
    texts = [file.read_text().strip().removeprefix("---").strip() for file in files]
    half = CRDS / f".{name}.half"
    half.write_text("\n---\n".join(texts) + "\n")
    half.replace(CRDS / f"{name}.yaml")


def missing(folder, names):
    return [name for name in names if not os.access(folder / name, os.X_OK)]


def given(about):
    """The folder with finished programs that somebody names instead of a build."""
    folder = os.environ.get(about.get("variable", ""))
    if folder and (absent := missing(pathlib.Path(folder), about["programs"])):
        fail(f"{about['variable']}={folder} has no {', '.join(absent)}")
    return folder


def lacks(name):
    """The programs to build, and whether the CRDs are to be copied."""
    about, stamp = SETS[name], TOOLS / f".{name}.stamp"
    current = stamp.exists() and stamp.read_text() == lock_hash(HERE / name)
    programs = [] if given(about) else list(about["programs"]) if not current else missing(BIN, about["programs"])
    crds = "crds" in about and "UMBRA_CRDS" not in os.environ
    return programs, crds and not (current and (CRDS / f"{name}.yaml").exists())


def make(name):
    folder, about = HERE / name, SETS[name]
    programs, crds = lacks(name)
    for program in programs:
        build(folder, program, about["programs"][program], about.get("flags", []))
    if crds:
        copy_crds(folder, name, *about["crds"])
    if not given(about):
        (TOOLS / f".{name}.stamp").write_text(lock_hash(folder))


def main():
    wanted = sys.argv[1:] or [name for name, about in SETS.items() if not about.get("asked")]
    unknown = [name for name in wanted if name not in SETS]
    if unknown:
        fail(f"{', '.join(unknown)}: not among {', '.join(SETS)}")
    TOOLS.mkdir(exist_ok=True)
    with open(TOOLS / ".build_go.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        todo = [name for name in wanted if any(lacks(name))]
        if not todo:
            return
        need_go()
        minutes = sum(SETS[name].get("minutes", 0) for name in todo if lacks(name)[0])
        say(f"to build: {', '.join(todo)}; for the first time about {minutes:.0f} minutes on two cores, later seconds")
        for name in todo:
            make(name)


if __name__ == "__main__":
    main()
