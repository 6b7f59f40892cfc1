#!/usr/bin/env python3
"""Writes a directory of YAML with a mesh of a given size, for figures.

Every service has ENDPOINTS pods in two versions, a VirtualService and a DestinationRule with the subsets v1 and v2
for the first RULES of them; the first MIRRORS of those mirror v1 to v2. One file a service, so that one endpoint is
one small file.
"""
import argparse
import pathlib


def service(i: int, args: argparse.Namespace) -> str:
    name, namespace = f"svc-{i}", f"ns-{i % args.namespaces}"
    slices = ["- addresses: [10.%d.%d.%d]\n  targetRef: {kind: Pod, name: %s-%d, namespace: %s}" %
              (i // 250, i % 250, e + 1, name, e, namespace) for e in range(args.endpoints)]
    docs = [
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}\n",
        f"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-a\n  namespace: {namespace}\n"
        f"  labels: {{kubernetes.io/service-name: {name}}}\naddressType: IPv4\nports: [{{name: http, port: 8080}}]\n"
        "endpoints:\n" + "\n".join(slices) + "\n",
    ]
    for e in range(args.endpoints):
        docs.append(
            f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}-{e}\n  namespace: {namespace}\n"
            f"  labels: {{app: {name}, version: v{e % 2 + 1}}}\n"
            f"status: {{podIP: 10.{i // 250}.{i % 250}.{e + 1}}}\n")
    if i < args.rules:
        mirror = ""
        if i < args.mirrors:
            mirror = f"    mirror: {{host: {name}, subset: v2}}\n    mirrorPercentage: {{value: 10}}\n"
        docs.append(
            f"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
            f"spec:\n  hosts: [{name}]\n  http:\n  - route: [{{destination: {{host: {name}, subset: v1}}}}]\n{mirror}")
        docs.append(
            f"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
            f"spec:\n  host: {name}\n  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]\n")
    return "---\n".join(docs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--endpoints", type=int, default=10)
    parser.add_argument("--rules", type=int, default=200)
    parser.add_argument("--mirrors", type=int, default=100)
    parser.add_argument("--namespaces", type=int, default=1)
    args = parser.parse_args()
    args.directory.mkdir(parents=True, exist_ok=True)
    for i in range(args.services):
        (args.directory / f"svc-{i}.yaml").write_text(service(i, args))


if __name__ == "__main__":
    main()
