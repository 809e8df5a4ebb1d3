package replace

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
)

// TestBrokersAcceptTheVoterSet replaces two controllers under Apache brokers of
// both versions: a voter set that they do not accept ends their process.
func TestBrokersAcceptTheVoterSet(t *testing.T) {
	kits := []*peer.Kit{peer.Require(t, peer.Versions[0]), peer.Require(t, peer.Versions[1])}
	driver := kits[0].StartDriver(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s := &story{t: t, ctx: ctx, q: cluster.StartKvorum(ctx, t, cluster.Options{Size: 3, ReleaseVersion: "3.9"})}
	brokers := s.q.Brokers(ctx, t, driver, nil, kits...)
	for _, lost := range []*cluster.Node{s.node(0), s.node(1)} {
		before := s.status(lost.ID)
		lost.Kill()
		s.loseDisk(lost)
		now := s.replace(lost, before)
		lost.Start(t)
		lost.WaitReady(ctx, t)
		s.wait("the new directory is a healthy voter", func() bool {
			q, err := s.ask()
			return err == nil && q.directory(lost.ID) == now
		})
		name := "after-" + now[:4]
		s.create(name)
		for _, b := range brokers {
			s.wait(b.String()+" sees what came after the voter set", func() bool { return b.Running() && s.sees(b.Listener, name) })
		}
	}
	for _, b := range brokers {
		b.Stop(t)
	}
	for _, c := range s.q.Controllers {
		c.Stop(t)
	}
}

// sees asks a broker for a topic's metadata.
func (s *story) sees(broker, topic string) (found bool) {
	err := peer.Ask(s.ctx, broker, func(ctx context.Context, b *kgo.Broker) error {
		req := kmsg.NewPtrMetadataRequest()
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &topic
		req.Topics = append(req.Topics, t)
		resp, err := req.RequestWith(ctx, b)
		if err == nil && len(resp.Topics) == 1 {
			err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
			found = err == nil
		}
		return err
	})
	return err == nil && found
}
