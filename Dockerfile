# umbra in an empty image: one static binary and a user without rights, and `nft` and `iptables` for the init containers of
# injected Pods.
#   docker build -t registry.example.com/umbra:0.1.0 .
# For another processor: docker buildx build --platform linux/arm64 … (x86_64 and aarch64).
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The command that CI builds and starts the same binary with.
RUN make static

FROM docker.io/library/debian:bookworm-slim AS capture
RUN apt-get update && apt-get install -y --no-install-recommends nftables iptables
COPY deploy/image/collect.sh /collect.sh
RUN sh /collect.sh /image

FROM scratch
COPY --from=capture /image /
COPY --from=build /src/target/static/umbra /umbra
ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin
# Nobody in particular; the chart's Pods say the same.
USER 65532:65532
ENTRYPOINT ["/umbra"]
