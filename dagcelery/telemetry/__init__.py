"""What a team's own instruments see of runs: traces for OpenTelemetry, numbers for Prometheus."""
