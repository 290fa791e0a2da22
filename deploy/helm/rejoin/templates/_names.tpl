{{- define "rejoin.name" -}}
{{- if contains "rejoin" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-rejoin{{ end }}
{{- end }}

{{- define "rejoin.selector" -}}
app.kubernetes.io/name: rejoin
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "rejoin.labels" -}}
{{ include "rejoin.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "rejoin.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* A variable from a secret: list NAME SECRET. */}}
{{- define "rejoin.secretEnv" -}}
- name: {{ index . 0 }}
  valueFrom: { secretKeyRef: { name: {{ (index . 1).name }}, key: {{ (index . 1).key }} } }
{{- end }}

{{/*
What all pods have. Nothing here talks to the API of Kubernetes; and its variables for services would be REJOIN_PORT and
the like, which the program refuses as settings that it does not know.
*/}}
{{- define "rejoin.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- end }}
