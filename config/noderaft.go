package config

import (
	"slices"
	"strings"
)

// raft reads how the controllers talk among themselves. The Raft port takes
// whatever comes from a peer that it trusts, so that outside loopback there
// has to be TLS.
func (p *nodeParser) raft(n *Node) {
	if !n.Controller {
		for name := range p.lines {
			if strings.HasPrefix(name, "kvorum.raft.") {
				n.WithoutEffect = append(n.WithoutEffect, name)
			}
		}
		slices.Sort(n.WithoutEffect)
		return
	}
	r := Raft{
		Listener:        p.address("kvorum.raft.listener"),
		Voters:          p.voters("kvorum.raft.voters"),
		CertificateFile: p.value("kvorum.raft.tls.certificate.file").Text,
		KeyFile:         p.value("kvorum.raft.tls.key.file").Text,
		CAFile:          p.value("kvorum.raft.tls.ca.file").Text,
		RTT:             p.millis("kvorum.raft.rtt.ms"),
		ElectionTicks:   p.int("kvorum.raft.election.ticks"),
		HeartbeatTicks:  p.int("kvorum.raft.heartbeat.ticks"),
	}
	n.Raft = r
	if r.ElectionTicks < 5*r.HeartbeatTicks {
		p.fail("kvorum.raft.election.ticks", "kvorum.raft.election.ticks=%d is less than five times kvorum.raft.heartbeat.ticks=%d; a late heartbeat would start an election",
			r.ElectionTicks, r.HeartbeatTicks)
	}
	p.includesSelf(n, "kvorum.raft.voters", r.Voters)
	p.sameVoters(n)
	if len(r.Voters) > 1 && r.Listener == nil {
		p.fail("kvorum.raft.listener", "kvorum.raft.listener is not set; it is the address on which this controller takes Raft messages of the other %d", len(r.Voters)-1)
	}
	files := 0
	for _, file := range []string{r.CertificateFile, r.KeyFile, r.CAFile} {
		if file != "" {
			files++
		}
	}
	switch {
	case files != 0 && files != 3:
		p.fail("kvorum.raft.tls.certificate.file", "kvorum.raft.tls.certificate.file, kvorum.raft.tls.key.file and kvorum.raft.tls.ca.file go together; set all three")
	case files == 0:
		p.loopbackOnly(r)
	}
}

func (p *nodeParser) loopbackOnly(r Raft) {
	const remedy = "set kvorum.raft.tls.certificate.file, .key.file and .ca.file"
	if r.Listener != nil && !r.Listener.Loopback() {
		p.fail("kvorum.raft.listener", "kvorum.raft.listener=%s can be reached from other machines without TLS; %s", r.Listener, remedy)
	}
	for _, v := range r.Voters {
		if !v.Loopback() {
			p.fail("kvorum.raft.voters", "kvorum.raft.voters: %s is on another machine and there is no TLS; %s", v, remedy)
			return
		}
	}
}

// sameVoters: both lists of controllers, where both are given, name the same
// ids, and several controllers need Raft addresses.
func (p *nodeParser) sameVoters(n *Node) {
	ids := func(voters []Voter) []int {
		var ids []int
		for _, v := range voters {
			ids = append(ids, int(v.ID))
		}
		slices.Sort(ids)
		return ids
	}
	kafkaIDs, raftIDs := ids(n.Voters), ids(n.Raft.Voters)
	switch {
	case len(kafkaIDs) > 1 && len(raftIDs) == 0:
		p.fail("controller.quorum.voters", "controller.quorum.voters names %d controllers; kvorum.raft.voters must give the Raft address of each, as id@host:port,...", len(kafkaIDs))
	case len(kafkaIDs) > 0 && len(raftIDs) > 0 && !slices.Equal(kafkaIDs, raftIDs):
		p.fail("kvorum.raft.voters", "kvorum.raft.voters names the ids %v, controller.quorum.voters %v; they must be the same", raftIDs, kafkaIDs)
	}
}
