package meter

import (
	"net/netip"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"kvorum/listener"
	"kvorum/protocol/errors"
)

func (m *Meter) refusedBy(_ netip.AddrPort, why listener.Reason) { m.refused[why].Add(1) }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("kafka_"+name, help, labels, nil)
}

// kafka.network:type=RequestMetrics and kafka.server:type=socket-server-metrics.
var (
	descRequests      = desc("request_requests_total", "Requests that were answered.", "request", "version")
	descErrors        = desc("request_errors_total", "Error codes in answers, NONE included.", "request", "error")
	descRequestBytes  = desc("request_request_bytes_total", "Bytes of requests.", "request")
	descResponseBytes = desc("request_response_bytes_total", "Bytes of answers.", "request")
	descTotal         = desc("request_total_time_seconds", "Time from the last byte of a request to the last byte of its answer.", "request")
	descQueue         = desc("request_request_queue_time_seconds", "Time before the handler.", "request")
	descLocal         = desc("request_local_time_seconds", "Time that the handler was at work.", "request")
	descRemote        = desc("request_remote_time_seconds", "Time that the handler waited for others.", "request")
	descThrottle      = desc("request_throttle_time_seconds", "Time for which the client was told to be silent.", "request")
	descSend          = desc("request_response_send_time_seconds", "Time of encoding and writing the answer.", "request")

	descOpen    = desc("socket_server_connection_count", "Open connections.")
	descOpened  = desc("socket_server_connection_creation_total", "Connections that were opened.")
	descClosed  = desc("socket_server_connection_close_total", "Connections that have ended, by why.", "reason")
	descRefused = prometheus.NewDesc("kvorum_listener_refused_connections_total", "Connections that were closed before they were served, by the limit that did it.", []string{"reason"}, nil)
)

// Describe implements prometheus.Collector. The metrics are unchecked: none is
// announced before it is collected.
func (m *Meter) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m *Meter) Collect(out chan<- prometheus.Metric) {
	for slot := range m.apis {
		if a := m.apis[slot].Load(); a != nil {
			a.collect(keyOf(slot).String(), out)
		}
	}
	opened, ended := m.opened.Load(), uint64(0)
	for why := range m.closed {
		n := m.closed[why].Load()
		if ended += n; n > 0 {
			out <- counter(descClosed, n, listener.Reason(why).String())
		}
		if n := m.refused[why].Load(); n > 0 {
			out <- counter(descRefused, n, listener.Reason(why).String())
		}
	}
	out <- counter(descOpened, opened)
	out <- prometheus.MustNewConstMetric(descOpen, prometheus.GaugeValue, float64(opened-min(opened, ended)))
}

func counter(d *prometheus.Desc, n uint64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

func (a *api) collect(name string, out chan<- prometheus.Metric) {
	for v := range a.versions {
		if n := a.versions[v].Load(); n > 0 {
			out <- counter(descRequests, n, name, strconv.Itoa(v))
		}
	}
	if c := a.codes.Load(); c != nil {
		for i := range c.counts {
			if n := c.counts[i].Load(); n > 0 {
				out <- counter(descErrors, n, name, errors.Code(i-1).String())
			}
		}
	}
	out <- counter(descRequestBytes, a.requestBytes.Load(), name)
	out <- counter(descResponseBytes, a.responseBytes.Load(), name)
	for d, h := range map[*prometheus.Desc]*histogram{
		descTotal: &a.total, descQueue: &a.queue, descLocal: &a.local, descRemote: &a.remote, descThrottle: &a.throttle, descSend: &a.send,
	} {
		out <- h.metric(d, name)
	}
}
