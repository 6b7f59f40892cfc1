# umbra in an empty image: one static binary and a user without rights.
#   docker build -t registry.example.com/umbra:0.1.0 .
# For another processor: docker buildx build --platform linux/arm64 … (x86_64 and aarch64).
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The command that CI builds and starts the same binary with.
RUN make static

FROM scratch
COPY --from=build /src/target/static/umbra /umbra
# Nobody in particular; the chart's Pods say the same.
USER 65532:65532
ENTRYPOINT ["/umbra"]
