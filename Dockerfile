# The server alone: it needs no other service until it is told to use one (README.md, "With Docker"). Data in /data, log on standard output.
# The Node of the other releases (scripts/on-demand/node), on the Debian of the tests.
FROM node:24.22.3-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json ./
COPY src ./src
RUN npm run build

FROM node:24.22.3-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:24.22.3-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY package.json LICENSE ./
COPY config ./config
COPY proto ./proto
# A new volume takes this owner over. What the server runs from stays root's: it cannot change itself.
RUN mkdir /data && chown 1000:1000 /data
# The user node of this image, by number, so that Kubernetes can tell that it is not root.
USER 1000:1000
# HOST is not set: by itself the server listens on the container's own loopback only, because it has no authentication unless AUTH_MODE says so.
# The log's file is the empty text (in YAML, as every variable): none. The audit log, which there is with authentication, is with the data.
ENV DATA_DIR=/data \
    MINIODB_LOG__FILE='""' \
    MINIODB_AUDIT__FILE=/data/logs/audit.log
VOLUME /data
EXPOSE 8081 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["node", "-e", "require(process.env.MINIODB_TLS__CERT_FILE ? 'https' : 'http').get({ host: '127.0.0.1', port: process.env.REST_PORT || 8081, path: '/v1/health/live', rejectUnauthorized: false }, (answer) => process.exit(answer.statusCode === 200 ? 0 : 1)).on('error', (error) => process.exit(/certificate required/.test(error.message) ? 0 : 1))"]
CMD ["node", "dist/main.cjs"]
