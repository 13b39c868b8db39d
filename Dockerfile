# Alpaca in a container: the server and its weights, nothing else.
#
#   docker build -t alpaca .
#   docker run --rm -p 8080:8080 alpaca
#
# Every option of the server is also a variable: -e ALPACA_PORT=9000, or arguments:
# alpaca --threads 4. The health check finds a port that is given either way.

FROM debian:bookworm-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
        gcc libc6-dev make pkg-config libmicrohttpd-dev libcjson-dev libopenblas-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN make -s -j"$(nproc)" all && make -s install DESTDIR=/image PREFIX=/usr/local

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="Alpaca" \
      org.opencontainers.image.description="Tells children's stories over HTTP with a small \
transformer that it trained itself" \
      org.opencontainers.image.licenses="MIT AND CDLA-Sharing-1.0"
RUN apt-get update \
 && apt-get install -y --no-install-recommends libmicrohttpd12 libcjson1 libopenblas0-pthread \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin alpaca
COPY --from=build /image/usr/local/bin/alpaca-server /image/usr/local/bin/alpaca-tell \
     /usr/local/bin/
COPY --from=build /image/usr/local/share/alpaca /usr/local/share/alpaca
USER 10001:10001
# Inside a container every interface is the container's own.
ENV ALPACA_HOST=0.0.0.0
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["/usr/local/bin/alpaca-server", "--health-check"]
ENTRYPOINT ["/usr/local/bin/alpaca-server"]
