# syntax=docker/dockerfile:1.12
# The binary and nothing else that runs: docker build -t tidewatch .

FROM rust:1.92-slim-bookworm AS build
# OpenSSL, librdkafka and SQLite are compiled from source and linked in.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ make perl pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /tidewatch
# The dependencies are a layer of their own, which only a change of the manifests builds again: first they are compiled for an empty program.
COPY Cargo.toml Cargo.lock ./
COPY dataflows/Cargo.toml dataflows/
RUN mkdir -p src dataflows/src dataflows/benches \
    && echo 'fn main() {}' > src/main.rs \
    && echo 'fn main() {}' > dataflows/benches/wire.rs \
    && touch src/lib.rs dataflows/src/lib.rs \
    && cargo build --release --locked --bin tidewatch
COPY migrations migrations
COPY dataflows/src dataflows/src
COPY dataflows/benches dataflows/benches
COPY src src
# Newer than what was compiled for the empty program.
RUN find src dataflows -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --bin tidewatch \
    && strip target/release/tidewatch

FROM debian:12.12-slim
# Authorities for TLS to services elsewhere.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 tidewatch \
    && useradd --system --uid 10001 --gid tidewatch --home-dir /var/lib/tidewatch --create-home tidewatch
COPY --from=build /tidewatch/target/release/tidewatch /usr/local/bin/tidewatch
USER 10001:10001
WORKDIR /var/lib/tidewatch
EXPOSE 8080
# No HEALTHCHECK: a run answers /livez and /readyz, a trainer and a generator answer nobody. compose.yml and deploy/kubernetes ask the run.
ENTRYPOINT ["tidewatch"]
CMD ["run", "--listen", "0.0.0.0:8080"]
