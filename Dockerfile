# The server alone: it needs a PostgreSQL, named by DATABASE_URL (compose.yaml has both).

FROM node:24-bookworm-slim AS static
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier
COPY tailwind.config.js ./
COPY static static
COPY views views
RUN node static/build.mjs

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
COPY --from=static /src/static/dist static/dist
ARG VERSION=unknown
RUN go tool templ generate -path views -log-level warn \
 && go tool oapi-codegen -config handlers/oapi-codegen.yaml handlers/openapi.yaml \
 && sh packaging/compile.sh "$VERSION" /out/moonlatch

FROM debian:bookworm-slim
# For a database that is reached over TLS and checked (sslmode=verify-full).
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/moonlatch /usr/local/bin/moonlatch
ENV ADDR=0.0.0.0:8080
USER 65532:65532
# In no folder of its own: with a database elsewhere it writes no files.
WORKDIR /
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["moonlatch"]
CMD ["serve"]
