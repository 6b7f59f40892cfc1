"""Shows that a binary of umbra needs nothing: no library, no file, no program.

It starts it in an empty root (in namespaces of its own) that has only the rules to serve and an /etc/resolv.conf, and
wants it to become ready and to find its replicas by name. What stands for the cluster's DNS is below.

Usage: start_static.py BINARY
"""

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

PATIENCE = 60
ADMIN, API = 15014, 15013
PEERS = "umbra-peers.mesh.test"
RULES = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec: {hosts: [web], http: [{route: [{destination: {host: web}}]}]}
"""


def fail(words):
    sys.exit(f"start_static: {words}")


def needs(binary):
    """The loader that an ELF binary asks for, or None (System V ABI, program header PT_INTERP)."""
    with open(binary, "rb") as file:
        image = file.read()
    if image[:5] != b"\x7fELF\x02":
        fail(f"{binary} is no 64-bit ELF binary")
    (start,) = struct.unpack_from("<Q", image, 32)
    size, count = struct.unpack_from("<HH", image, 54)
    for header in range(start, start + size * count, size):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", image, header)
        if kind == 3:
            return image[offset : offset + length].rstrip(b"\0").decode()
    return None


class Dns(threading.Thread):
    """Answers PEERS with 127.0.0.1, and every other name with "no such name"."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))
        self.asked = set()

    def run(self):
        while True:
            query, sender = self.socket.recvfrom(512)
            at, labels = 12, []
            while query[at]:
                labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
                at += 1 + query[at]
            name, question = ".".join(labels), query[12 : at + 5]
            self.asked.add(name)
            known, address = name == PEERS, query[at + 1 : at + 3] == b"\0\1"
            count = 1 if known and address else 0
            head = query[:2] + (b"\x85\x80" if known else b"\x85\x83") + struct.pack(">HHHH", 1, count, 0, 0)
            record = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1" if count else b""
            self.socket.sendto(head + question + record, sender)


def get(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def wait(what, process, log, look):
    end = time.monotonic() + PATIENCE
    while True:
        seen = look()
        if seen[0]:
            return seen[1]
        if process.poll() is not None or time.monotonic() > end:
            with open(log) as file:
                fail(f"waited for {what}: {seen[1]}\n{file.read()}")
        time.sleep(0.05)


def inside(binary):
    """In namespaces of our own: files, network, and the rights of their root."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    dns = Dns()
    dns.start()
    with tempfile.TemporaryDirectory() as folder:
        root, log = os.path.join(folder, "root"), os.path.join(folder, "log")
        for name in ["etc", "mesh"]:
            os.makedirs(os.path.join(root, name))
        for name, text in [("etc/resolv.conf", "nameserver 127.0.0.1\nsearch mesh.test\n"), ("mesh/web.yaml", RULES)]:
            with open(os.path.join(root, name), "w") as file:
                file.write(text)
        subprocess.run(["cp", binary, os.path.join(root, "umbra")], check=True)
        # As a Pod's name would be written: without its last part.
        flags = ["--dir", "/mesh", "--api", f"127.0.0.1:{API}", "--peers", f"umbra-peers:{API}"]
        with open(log, "w") as out:
            command = [shutil.which("chroot") or "chroot", root, "/umbra", "serve", *flags]
            process = subprocess.Popen(command, env={}, stdout=out, stderr=out)
        try:
            wait("/readyz", process, log, lambda: ((answer := get(ADMIN, "/readyz"))[0] == 200, answer))
            # A replica that is not found by its name would be said to be silent.
            path = "/v1/live/VirtualService/default/web"
            answer = wait("/v1/live", process, log, lambda: ((answer := get(API, path))[0] in (200, 409), answer))
            if PEERS not in dns.asked or json.loads(answer[1])["silent"]:
                fail(f"the replicas' name was not found: asked {sorted(dns.asked)}, answer {answer}")
            process.terminate()
            if process.wait(PATIENCE) != 0:
                fail(f"it ended with {process.returncode}")
        finally:
            process.kill()
    print(f"{binary}: static, ready in an empty root, found {PEERS}")


def main():
    if sys.argv[1:2] == ["--inside"]:
        return inside(sys.argv[2])
    if len(sys.argv) != 2:
        fail("Usage: start_static.py BINARY")
    binary = os.path.abspath(sys.argv[1])
    loader = needs(binary)
    if loader:
        fail(f"{binary} is not static: it asks for {loader}")
    unshare = ["unshare", "--map-root-user", "--net", "--mount", "--"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        if os.environ.get("REQUIRE_NETNS") == "1":
            fail("no namespaces of our own here")
        print("SKIPPED: the static binary in an empty root: no namespaces of our own here", file=sys.stderr)
        return subprocess.run([binary, "version"], check=True)
    return subprocess.run([*unshare, sys.executable, __file__, "--inside", binary], check=True)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
