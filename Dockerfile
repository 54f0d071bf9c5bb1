# syntax=docker/dockerfile:1
# The relay: docker build --tag outbox-relay .
#
# It runs as an unprivileged user from a read-only file system, writes to standard output alone, and
# takes its configuration from a file (mount it at /etc/outbox-relay/relay.toml) or from a variable
# (OUTBOX_RELAY_CONFIG=env:RELAY_TOML). SIGTERM drains: give it longer than drain_timeout_secs.

# The base below has glibc 2.36: build on the Debian that has the same.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package outbox-relay \
    && cp target/release/outbox-relay /outbox-relay

# glibc, libgcc and the certificate authorities; neither a shell nor a package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="outbox-relay" \
    org.opencontainers.image.description="Publishes the events of a Postgres outbox to SQS, SNS and EventBridge" \
    org.opencontainers.image.source="https://github.com/oncebox/oncebox" \
    org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /outbox-relay /usr/local/bin/outbox-relay
ENV OUTBOX_RELAY_CONFIG=/etc/outbox-relay/relay.toml
# nonroot, as a number: Kubernetes' runAsNonRoot does not look names up.
USER 65532:65532
EXPOSE 9464
STOPSIGNAL SIGTERM
# Needs http.listen with a fixed port in the configuration, such as 0.0.0.0:9464.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/outbox-relay", "health"]
ENTRYPOINT ["/usr/local/bin/outbox-relay"]
CMD ["run"]
