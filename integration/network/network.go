// Package network gives each process of a test a network namespace of its own, and
// cuts the way from one to another. The namespaces hang on a hub, which is one more
// and routes between them; the test's own process reaches all of them through it. A
// cut is a rule of the hub's that drops packets silently, in one direction: what a
// process sees of it is that nothing comes.
package network

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Outside is the test's own process among the hosts.
const Outside = -1

// Network is some hosts, numbered from 0, and a hub. It is used by one goroutine.
type Network struct {
	t    testing.TB
	name string // of the namespaces, before the number
	net  string // the first two numbers of all addresses
	size int
	cuts []string // the hub's rules
}

// New makes namespaces for so many hosts, which are removed when the test ends. Where
// the system does not let it (another one than Linux, no root, no `ip`) the test is
// skipped, also with KVORUM_PEERS=required: that is about peers.
func New(t testing.TB, hosts int) *Network {
	t.Helper()
	n := &Network{t: t, name: fmt.Sprintf("kv%d", os.Getpid()), size: hosts}
	if err := ip("netns", "add", n.hub()); err != nil {
		t.Skipf("skipped: this system makes no network namespaces for us: %v", err)
	}
	t.Cleanup(n.remove)
	n.join()
	for i := range hosts {
		n.add(i)
	}
	return n
}

// join connects the hub with the test's own namespace, by the first network that is
// free there.
func (n *Network) join() {
	n.t.Helper()
	outside := n.name + "u"
	n.must("link", "add", outside, "type", "veth", "peer", "name", "out", "netns", n.hub())
	n.must("link", "set", outside, "up")
	n.must("-n", n.hub(), "link", "set", "lo", "up")
	n.must("-n", n.hub(), "link", "set", "out", "up")
	var err error
	for second := 200; second < 250; second++ {
		n.net = fmt.Sprintf("10.%d", second)
		if err = ip("route", "add", n.net+".0.0/16", "dev", outside); err == nil {
			break
		}
	}
	if err != nil {
		n.t.Fatalf("no network is free: %v", err)
	}
	n.must("addr", "add", n.Address(Outside)+"/24", "dev", outside)
	n.must("-n", n.hub(), "addr", "add", n.net+".255.1/24", "dev", "out")
	n.must("route", "replace", n.net+".0.0/16", "via", n.net+".255.1")
	n.must("netns", "exec", n.hub(), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
}

func (n *Network) add(i int) {
	n.t.Helper()
	ns, gate, link := n.host(i), fmt.Sprintf("%s.%d.1", n.net, i), fmt.Sprintf("n%d", i)
	n.must("netns", "add", ns)
	n.must("-n", n.hub(), "link", "add", link, "type", "veth", "peer", "name", "eth", "netns", ns)
	n.must("-n", n.hub(), "addr", "add", gate+"/24", "dev", link)
	n.must("-n", n.hub(), "link", "set", link, "up")
	n.must("-n", ns, "link", "set", "lo", "up")
	n.must("-n", ns, "addr", "add", n.Address(i)+"/24", "dev", "eth")
	n.must("-n", ns, "link", "set", "eth", "up")
	n.must("-n", ns, "route", "add", "default", "via", gate)
}

func (n *Network) remove() {
	for i := range n.size {
		_ = ip("netns", "del", n.host(i)) // one may not be there yet
	}
	_ = ip("link", "del", n.name+"u") // at once; the hub's namespace goes when nobody is in it
	_ = ip("netns", "del", n.hub())
}

func (n *Network) hub() string { return n.name + "-hub" }

func (n *Network) host(i int) string { return fmt.Sprintf("%s-%d", n.name, i) }

// Address is the only address of a host, or of Outside.
func (n *Network) Address(host int) string {
	if host == Outside {
		return n.net + ".255.2"
	}
	return fmt.Sprintf("%s.%d.2", n.net, host)
}

// Wrap is the command that runs what follows it on a host.
func (n *Network) Wrap(host int) []string { return []string{"ip", "netns", "exec", n.host(host)} }

// Cut drops all packets from one host to another.
func (n *Network) Cut(from, to int) {
	n.t.Helper()
	rule := fmt.Sprintf("pref 10 from %s to %s blackhole", n.Address(from), n.Address(to))
	n.must(append([]string{"-n", n.hub(), "rule", "add"}, strings.Fields(rule)...)...)
	n.cuts = append(n.cuts, rule)
}

// Heal ends all cuts.
func (n *Network) Heal() {
	n.t.Helper()
	for _, rule := range n.cuts {
		n.must(append([]string{"-n", n.hub(), "rule", "del"}, strings.Fields(rule)...)...)
	}
	n.cuts = nil
}

func (n *Network) must(args ...string) {
	n.t.Helper()
	if err := ip(args...); err != nil {
		n.t.Fatal(err)
	}
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
