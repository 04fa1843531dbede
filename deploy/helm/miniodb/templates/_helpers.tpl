{{- define "miniodb.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* 52 characters: the names of the pods and of the other objects are longer by up to 11. */}}
{{- define "miniodb.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "miniodb.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "miniodb.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "miniodb.selectorLabels" -}}
app.kubernetes.io/name: {{ include "miniodb.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "miniodb.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "miniodb.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "miniodb.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{- define "miniodb.secretName" -}}
{{- default (include "miniodb.fullname" .) .Values.secrets.existingSecret -}}
{{- end -}}

{{/* The file that the server reads: the values, and what the chart itself decides. */}}
{{- define "miniodb.config" -}}
{{- $decided := dict "data_dir" "/data" "log" (dict "file" "") "audit" (dict "file" "/data/logs/audit.log") -}}
{{- if .Values.tls.existingSecret -}}
{{- $tls := dict "cert_file" "/etc/miniodb/tls/tls.crt" "key_file" "/etc/miniodb/tls/tls.key" -}}
{{- if .Values.tls.clientCertificates -}}{{- $_ := set $tls "client_ca_file" "/etc/miniodb/tls/ca.crt" -}}{{- end -}}
{{- $_ := set $decided "tls" $tls -}}
{{- end -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.config) $decided) -}}
{{- end -}}

{{/* What the server would refuse at its start is refused before anything is installed. */}}
{{- define "miniodb.check" -}}
{{- $storage := dig "storage" "kind" "local" .Values.config -}}
{{- $redis := dig "redis" "mode" "none" .Values.config -}}
{{- if and (gt (int .Values.replicas) 1) (or (ne $storage "minio") (eq $redis "none")) -}}
{{- fail (printf "replicas is %d: several servers need a bucket and Redis; set config.storage.kind to minio, and config.redis.mode" (int .Values.replicas)) -}}
{{- end -}}
{{- if and (ne $redis "none") (ne $storage "minio") -}}
{{- fail "config.redis.mode is for servers that share a bucket; set config.storage.kind to minio" -}}
{{- end -}}
{{- if and (eq $storage "minio") (not .Values.secrets.existingSecret) (or (not .Values.secrets.minioAccessKey) (not .Values.secrets.minioSecretKey)) -}}
{{- fail "config.storage.kind is minio: set secrets.minioAccessKey and secrets.minioSecretKey, or secrets.existingSecret" -}}
{{- end -}}
{{- if and .Values.tls.clientCertificates (not .Values.tls.existingSecret) -}}
{{- fail "tls.clientCertificates needs tls.existingSecret" -}}
{{- end -}}
{{- end -}}

{{/* Probes cannot show a certificate. */}}
{{- define "miniodb.probe" -}}
{{- if .root.Values.tls.clientCertificates -}}
tcpSocket:
  port: rest
{{- else -}}
httpGet:
  path: {{ .path }}
  port: rest
  scheme: {{ ternary "HTTPS" "HTTP" (ne .root.Values.tls.existingSecret "") }}
{{- end -}}
{{- end -}}
