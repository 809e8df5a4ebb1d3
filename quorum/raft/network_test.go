package raft

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math/big"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/raftpb"
)

func contains(s, words string) bool { return strings.Contains(s, words) }

// hello of another controller of a test cluster.
func (n *testNode) hello(other *testNode, p purpose) hello {
	return hello{
		purpose: p, cluster: testClusterID,
		sender: other.cfg.replica().ID(), target: n.cfg.replica().ID(),
		senderNode: other.cfg.NodeID, targetNode: n.cfg.NodeID,
	}
}

// connect opens a raw connection.
func (n *testNode) connect(t *testing.T) net.Conn {
	conn, err := net.Dial("tcp", n.cfg.ListenAddress)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// frameOf makes a frame with a right header.
func frameOf(payload []byte) []byte { return sealFrame(append(make([]byte, frameHeader), payload...)) }

// Whatever strangers send: their connection ends, nothing else does, and
// nothing is allocated for what they only declare.
func TestStrangers(t *testing.T) {
	c := startCluster(t, 1)
	n, claim := c.lead()
	other := newCluster(t, 2).nodes[1]
	good := frameOf(n.hello(other, purposeMessages).append(nil))
	changed := func(f func(*hello)) []byte {
		h := n.hello(other, purposeMessages)
		f(&h)
		return frameOf(h.append(nil))
	}
	huge := make([]byte, frameHeader)
	binary.BigEndian.PutUint32(huge, 1<<32-1)
	large := make([]byte, frameHeader)
	binary.BigEndian.PutUint32(large, maxMessageFrame)
	// Dragonboat's own transport dies of this: its magic and a size of 1<<62.
	dragonboat, _ := hex.DecodeString("ae7d00644000000000000000000000000000000000000000")
	tests := []struct {
		name  string
		bytes []byte
		says  string // in the refusal, if there is one
	}{
		{"nothing", nil, ""},
		{"garbage", []byte(strings.Repeat("GET / HTTP/1.1\r\n", 100)), ""},
		{"dragonboat's frame", dragonboat, ""},
		{"a declared length of 4 GiB", huge, ""},
		{"a hello as long as a message", large, ""},
		{"a wrong checksum", append(append([]byte{}, good[:5]...), good[6:]...), ""},
		{"another magic", frameOf([]byte("KAFKA and more bytes than a hello has, by a long way")), ""},
		{"a newer version", frameOf([]byte("KVRM\x00\x02")), ""},
		{"another cluster", changed(func(h *hello) { h.cluster = "another" }), "another"},
		{"another node", changed(func(h *hello) { h.targetNode = 7 }), "I am node 1"},
		{"another formatting", changed(func(h *hello) { h.target++ }), "formatted anew"},
		{"itself", changed(func(h *hello) { h.sender = n.cfg.replica().ID() }), "not another one"},
		{"nobody", changed(func(h *hello) { h.sender = 0 }), "not another one"},
		{"a refusal", changed(func(h *hello) { h.purpose = purposeRefused }), "refusal"},
	}
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			conn := n.connect(t)
			if _, err := conn.Write(test.bytes); err != nil {
				t.Fatal(err)
			}
			conn.(*net.TCPConn).CloseWrite()
			answer, _ := io.ReadAll(conn)
			if test.says == "" {
				if len(answer) > 0 {
					t.Errorf("a stranger was answered: %q", answer)
				}
				return
			}
			h, err := decodeHello(answer[frameHeader:])
			if err != nil || h.purpose != purposeRefused || !contains(h.text, test.says) {
				t.Errorf("answer %+v, %v", h, err)
			}
		})
	}
	// Behind a right hello as well.
	for _, bad := range [][]byte{huge, large, frameOf([]byte("no message")), frameOf(messages(n, other, raftpb.Message{Type: raftpb.Election})), frameOf(nil)} {
		conn := n.connect(t)
		conn.Write(good)
		if _, err := readFrame(conn, nil, maxHelloFrame); err != nil {
			t.Fatal(err)
		}
		conn.Write(bad)
		conn.(*net.TCPConn).CloseWrite()
		if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil && !contains(err.Error(), "reset") {
			t.Errorf("after %x: %q, %v", bad, rest, err)
		}
	}
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
		t.Errorf("strangers made the process allocate %d MiB", grown>>20)
	}
	c.write(n, claim, 1, 10)
}

// messages encodes a batch from one controller to another.
func messages(to, from *testNode, m raftpb.Message) []byte {
	m.ShardID, m.From, m.To = ShardID, uint64(from.cfg.replica().ID()), uint64(to.cfg.replica().ID())
	batch := raftpb.MessageBatch{SourceAddress: from.cfg.replica().address(), Requests: []raftpb.Message{m}}
	b := make([]byte, batch.SizeUpperLimit())
	n, err := batch.MarshalTo(b)
	if err != nil {
		panic(err)
	}
	return b[:n]
}

// Connections that never say who they are do not keep controllers out for good.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.nodes[0].patience = 300 * time.Millisecond
	c.start()
	n, claim := c.lead()
	for range maxPending + 20 {
		n.connect(t)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		e, err := n.host.net.ask(ctx, n.cfg.NodeID, exchange{self: n.cfg.replica()})
		cancel()
		if err == nil {
			if !e.settled {
				t.Errorf("exchange %+v", e)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.write(n, claim, 1, 10)
}

// Without certificates nothing but loopback is used, and certificates must be
// of a CA of their own.
func TestLoopbackOrTLS(t *testing.T) {
	ca := newAuthority(t)
	tests := []struct {
		name   string
		change func(*Config)
		words  string
	}{
		{"listen everywhere", func(c *Config) { c.ListenAddress = "0.0.0.0:9" }, "listen address 0.0.0.0:9 is not loopback"},
		{"listen on no address", func(c *Config) { c.ListenAddress = ":9" }, "not loopback"},
		{"a peer elsewhere", func(c *Config) { c.Peers[1].RaftAddress = "10.1.2.3:9" }, "node 2 is not loopback"},
		{"a peer's name", func(c *Config) { c.Peers[1].RaftAddress = "controller-2:9" }, "node 2 is not loopback"},
		{"localhost", func(c *Config) { c.Peers[1].RaftAddress = "localhost:9" }, ""},
		{"with TLS", func(c *Config) { c.ListenAddress, c.TLS = "0.0.0.0:9", ca.config(t) }, ""},
		{"TLS without client certificates", func(c *Config) { c.TLS = ca.config(t); c.TLS.ClientAuth = tls.NoClientCert }, "does not verify"},
		{"TLS with the system's CAs", func(c *Config) { c.TLS = ca.config(t); c.TLS.RootCAs = nil }, "CA of its own"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg := newCluster(t, 2).nodes[0].cfg
			test.change(&cfg)
			err := cfg.validate()
			if test.words == "" && err != nil || test.words != "" && (err == nil || !contains(err.Error(), test.words)) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Controllers with certificates of one CA agree; without one, or with another
// CA's, nobody is heard.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	ca, foreign := newAuthority(t), newAuthority(t)
	c := newCluster(t, 3)
	for _, n := range c.nodes {
		n.cfg.TLS = ca.config(t)
	}
	c.start()
	leader, claim := c.lead()
	_, claim = c.write(leader, claim, 5, 100)
	c.caughtUp(claim.End)
	stranger := newCluster(t, 3).nodes[1].cfg
	for _, config := range []*tls.Config{nil, foreign.config(t)} {
		n := &network{cluster: testClusterID, self: stranger.replica(), id: 5, tls: config, resolve: c.nodes[0].host.net.resolve}
		ctx, cancel := testContext(t)
		if e, err := n.ask(ctx, 1, exchange{self: stranger.replica()}); err == nil {
			t.Errorf("a stranger was answered: %+v", e)
		}
		cancel()
	}
}

// authority is a CA of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "controllers"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

// config is the TLS of one controller.
func (a *authority) config(t *testing.T) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
}
