# One static binary in an empty image: no shell, no package manager, no root.
# Build it with docker, podman or buildah (`make image`).

FROM docker.io/library/rust:1.95-slim-bookworm AS build
# The heap is compiled from its sources with make.
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# crt-static works on the gnu target because nothing here needs a C library at run time: TLS is
# rustls with ring, SQLite is bundled, the tz database and the root certificates are compiled in.
# The target is named so that the flag does not reach build scripts and proc macros.
RUN set -eu; \
    target="$(rustc -vV | sed -n 's/^host: //p')"; \
    RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked --bin probegate --target "$target"; \
    install -D -m 0755 "target/$target/release/probegate" /out/probegate; \
    install -d -m 0750 /out/data /out/config

FROM scratch
COPY --from=build --chown=0:0 /out/probegate /probegate
# Where the store and the resources go; mount volumes over them.
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build --chown=65532:65532 /out/config /config
USER 65532:65532
EXPOSE 8080 9090
ENTRYPOINT ["/probegate"]
CMD ["serve", "-f", "/config", "--data", "/data", "--listen", "0.0.0.0:8080", "--admin-listen", "0.0.0.0:9090"]
