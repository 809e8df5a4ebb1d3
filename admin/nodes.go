package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"kvorum/internal/kafka"
)

// NodeState is what one node says of itself at its kvorum.metrics.listener.
type NodeState struct {
	Address string       `json:"address"`
	ID      kafka.NodeID `json:"node"`
	Roles   []string     `json:"roles,omitempty"`
	// Reached is whether it answered; Error says why not, and the rest is empty then.
	Reached bool   `json:"reached"`
	Error   string `json:"error,omitempty"`
	// Alive is whether its loops turn, Ready whether it does all its work; Reasons say
	// why not. Active is the active controller.
	Alive   bool     `json:"alive"`
	Ready   bool     `json:"ready"`
	Active  bool     `json:"active"`
	Reasons []string `json:"reasons,omitempty"`
	// MetadataOffset is the last offset of the metadata log that it acts on, Behind by
	// how much the furthest of the nodes that were asked is ahead of it.
	MetadataOffset kafka.Offset `json:"metadata_offset"`
	Behind         int64        `json:"behind"`
	// ResidentBytes and OpenFiles are its process's, -1 where the system does not tell.
	ResidentBytes int64 `json:"resident_bytes"`
	OpenFiles     int64 `json:"open_files"`
	// UpSeconds is how long the process has run.
	UpSeconds int64 `json:"up_seconds"`
}

const (
	// nodesAtOnce bounds how many nodes are asked at a time.
	nodesAtOnce = 16
	// maxHealthBytes bounds a health answer, maxMetricsBytes the metrics of a node,
	// which grow with its partitions; they are read line by line and not kept.
	maxHealthBytes, maxMetricsBytes = 1 << 20, 256 << 20
)

// Nodes asks each address, a node's kvorum.metrics.listener, and returns the
// answers in the same order. within bounds each; one that does not answer is no
// error but says so.
func Nodes(ctx context.Context, addresses []string, within time.Duration) []NodeState {
	nodes := make([]NodeState, len(addresses))
	var group errgroup.Group
	group.SetLimit(nodesAtOnce)
	for i, address := range addresses {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, within)
			defer cancel()
			n, err := askNode(ctx, address)
			if err != nil {
				n = NodeState{Error: err.Error(), MetadataOffset: kafka.NoOffset, ID: kafka.NoNode, ResidentBytes: -1, OpenFiles: -1}
			}
			n.Address = address
			nodes[i] = n
			return nil
		})
	}
	_ = group.Wait() // each error is in its node
	furthest := kafka.NoOffset
	for i := range nodes {
		furthest = max(furthest, nodes[i].MetadataOffset)
	}
	for i := range nodes {
		if nodes[i].Reached {
			nodes[i].Behind = int64(furthest - nodes[i].MetadataOffset)
		}
	}
	return nodes
}

func askNode(ctx context.Context, address string) (NodeState, error) {
	n := NodeState{Reached: true, ResidentBytes: -1, OpenFiles: -1}
	err := getFrom(ctx, address, "/health", func(r io.Reader) error {
		var h struct {
			Node       *kafka.NodeID `json:"node"`
			Roles      []string      `json:"roles"`
			Alive      bool          `json:"alive"`
			Ready      bool          `json:"ready"`
			Reasons    []string      `json:"reasons"`
			Controller *struct {
				Active bool         `json:"active"`
				Offset kafka.Offset `json:"offset"`
			} `json:"controller"`
			Broker *struct {
				Offset kafka.Offset `json:"metadata_offset"`
			} `json:"broker"`
		}
		if err := json.NewDecoder(io.LimitReader(r, maxHealthBytes)).Decode(&h); err != nil || h.Node == nil {
			return fmt.Errorf("what answers there is no kvorum node (its /health: %v)", err)
		}
		n.ID, n.Roles, n.Alive, n.Ready, n.Reasons = *h.Node, h.Roles, h.Alive, h.Ready, h.Reasons
		switch { // a node of both roles acts on what its controller has
		case h.Controller != nil:
			n.Active, n.MetadataOffset = h.Controller.Active, h.Controller.Offset
		case h.Broker != nil:
			n.MetadataOffset = h.Broker.Offset
		}
		return nil
	})
	if err == nil {
		err = getFrom(ctx, address, "/metrics", n.readProcess)
	}
	return n, err
}

// readProcess takes what it needs of metrics in Prometheus' text format.
func (n *NodeState) readProcess(r io.Reader) error {
	lines := bufio.NewScanner(io.LimitReader(r, maxMetricsBytes))
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		if !strings.HasPrefix(name, "process_") {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(value) {
			continue // of another form: not one of these
		}
		switch name {
		case "process_resident_memory_bytes":
			n.ResidentBytes = int64(value)
		case "process_open_fds":
			n.OpenFiles = int64(value)
		case "process_start_time_seconds":
			n.UpSeconds = max(0, time.Now().Unix()-int64(value))
		}
	}
	return lines.Err()
}

// getFrom reads one page of a node. 503 is an answer, too: of one that is not well.
func getFrom(ctx context.Context, address, path string, read func(io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return fmt.Errorf("ask node %s: %w", address, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask node %s: %w", address, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusServiceUnavailable {
		return fmt.Errorf("ask node %s for %s: it answers %s", address, path, resp.Status)
	}
	if err := read(resp.Body); err != nil {
		return fmt.Errorf("ask node %s for %s: %w", address, path, err)
	}
	return nil
}
