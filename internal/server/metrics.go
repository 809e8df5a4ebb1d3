package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"kvorum/broker"
	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/quorum"
)

const (
	// headerTime and headerBytes bound what a peer of the metrics port may be slow
	// with and how much of it is read; nobody sends a body.
	headerTime  = 5 * time.Second
	headerBytes = 16 << 10
	// answerTime bounds the writing of an answer: as long as Prometheus waits at
	// most by default, and more.
	answerTime = 30 * time.Second
	// healthTime is how long a loop may take to show that it turns.
	healthTime = 3 * time.Second
	// scrapes is how many may be under way: each goes through all partitions.
	scrapes = 2
	// httpConnections bounds the connections of the port.
	httpConnections = 64
)

// observed is what the HTTP port shows of a node; what the node has not is nil.
type observed struct {
	node       kafka.NodeID
	controller *quorum.Controller
	raft       func(io.Writer) // Raft's own metrics in Prometheus' text format
	broker     *broker.Broker
	migration  prometheus.Collector
	meter      prometheus.Collector
	logger     *slog.Logger
}

// bindHTTP takes the HTTP port, before anything else is opened; nil for none.
func bindHTTP(ctx context.Context, at *config.Endpoint) (net.Listener, error) {
	if at == nil {
		return nil, nil
	}
	socket, err := new(net.ListenConfig).Listen(ctx, "tcp", at.String())
	if err != nil {
		return nil, fmt.Errorf("listen on kvorum.metrics.listener %s: %w", at, err)
	}
	return socket, nil
}

// serveHTTP serves /metrics, /health and /ready until ctx ends.
func (n *running) serveHTTP(ctx context.Context, o observed) error {
	if n.http == nil {
		return nil
	}
	o.node, o.meter, o.logger = n.cfg.ID, n.meter, n.options.Logger
	server := &http.Server{
		Handler: o.handler(), ReadHeaderTimeout: headerTime, ReadTimeout: headerTime, WriteTimeout: answerTime, IdleTimeout: time.Minute,
		MaxHeaderBytes: headerBytes, ErrorLog: slog.NewLogLogger(o.logger.Handler(), slog.LevelDebug),
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(&limited{Listener: n.http, slots: make(chan struct{}, httpConnections)}); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve metrics: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	return group.Wait()
}

// handler answers the three addresses.
func (o *observed) handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(o.meter, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if o.controller != nil {
		registry.MustRegister(o.controller.Collector())
	}
	if o.migration != nil {
		registry.MustRegister(o.migration)
	}
	if o.broker != nil {
		registry.MustRegister(o.broker.Collector())
	}
	scrape := promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true, MaxRequestsInFlight: scrapes})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		scrape.ServeHTTP(w, r)
		if o.raft != nil {
			o.raft(w)
		}
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) { o.answer(w, r, func(h *health) bool { return h.Alive }) })
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) { o.answer(w, r, func(h *health) bool { return h.Ready }) })
	return mux
}

// health is what /health and /ready answer: the same JSON, each with its own
// status code.
type health struct {
	Node  kafka.NodeID `json:"node"`
	Roles []string     `json:"roles"`
	// Alive is whether the loops of the node turn, Ready whether it does its work;
	// Reasons say why not.
	Alive      bool           `json:"alive"`
	Ready      bool           `json:"ready"`
	Reasons    []string       `json:"reasons,omitempty"`
	Controller *quorum.Health `json:"controller,omitempty"`
	Broker     *broker.Health `json:"broker,omitempty"`
}

func (o *observed) health(ctx context.Context) *health {
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	h := &health{Node: o.node, Alive: true}
	if o.controller != nil {
		c := o.controller.Health(ctx)
		h.Roles = append(h.Roles, "controller")
		h.Controller, h.Alive = &c, h.Alive && c.Alive
		if c.Reason != "" {
			h.Reasons = append(h.Reasons, c.Reason)
		}
	}
	if o.broker != nil {
		b := o.broker.Health()
		h.Roles = append(h.Roles, "broker")
		h.Broker, h.Alive = &b, h.Alive && b.Alive
		h.Reasons = append(h.Reasons, b.NotReady...)
	}
	h.Ready = h.Alive && len(h.Reasons) == 0
	return h
}

// answer writes the health, with 200 where it is good and 503 where it is not.
func (o *observed) answer(w http.ResponseWriter, r *http.Request, good func(*health) bool) {
	h := o.health(r.Context())
	w.Header().Set("Content-Type", "application/json")
	if !good(h) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if err := json.NewEncoder(w).Encode(h); err != nil {
		o.logger.Debug("answer a health check", "error", err)
	}
}

// limited accepts as many connections at a time as it has slots.
type limited struct {
	net.Listener
	slots chan struct{}
}

// Accept implements net.Listener. A connection beyond the limit is closed at once.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.slots <- struct{}{}:
			return &limitedConn{Conn: c, slots: l.slots}, nil
		default:
			_ = c.Close() // nothing was promised
		}
	}
}

type limitedConn struct {
	net.Conn
	once  sync.Once
	slots <-chan struct{}
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	c.once.Do(func() { <-c.slots })
	return c.Conn.Close()
}
