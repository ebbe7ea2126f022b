"""OpenTelemetry (extra ``otel``, RECEIVER_OTEL=1): spans of what is done, and the metrics beside Prometheus.

Imported only where it is asked for. What is traced is a step with a span around it: without telemetry the steps are
the plain ones, and nothing is asked on their way.
"""

from receiver.telemetry.telemetry import Telemetry

__all__ = ["Telemetry"]
