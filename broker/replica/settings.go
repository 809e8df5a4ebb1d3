package replica

import (
	"strconv"
	"sync"

	"kvorum/broker/replica/core"
	"kvorum/broker/storage"
	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
)

// setting is what a topic's configuration means to its partitions here.
type setting struct {
	log    storage.LogConfig
	minISR int
}

// settings are the effective configurations of topics in one image.
type settings struct {
	image  *image.Image
	layers config.Layers

	mu     sync.Mutex
	topics map[string]*setting
}

func (ps *Partitions) newSettings(im *image.Image) *settings {
	values := func(name string) map[string]string {
		if c := im.Config(image.Resource{Type: image.ResourceBroker, Name: name}); c != nil {
			return c.Values()
		}
		return nil
	}
	return &settings{
		image:  im,
		layers: config.Layers{Broker: values(strconv.Itoa(int(ps.self))), Cluster: values(""), Static: ps.static},
		topics: map[string]*setting{},
	}
}

// of works out a topic's configuration, once.
func (s *settings) of(topic string) *setting {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.topics[topic]; known != nil {
		return known
	}
	var own map[string]string
	if c := s.image.Config(image.Resource{Type: image.ResourceTopic, Name: topic}); c != nil {
		own = c.Values()
	}
	// min.insync.replicas decides what is committed, so all replicas must agree
	// on it: a value of this broker alone has no say in it. server.properties has
	// one only where the image has none.
	shared := config.Layers{Cluster: s.layers.Cluster, Static: s.layers.Static}
	min, _ := shared.Topic(own, "min.insync.replicas")
	made := &setting{log: storage.NewLogConfig(s.layers, own), minISR: int(min.Int)}
	s.topics[topic] = made
	return made
}

// reconfigure gives the partitions of topics whose configuration changed the new
// one, and leaders the new state of their followers' brokers.
func (ps *Partitions) reconfigure(c *image.Changes, im *image.Image, set *settings) {
	topics, all := map[string]bool{}, false
	for r := range c.Configs() {
		resource := r.Either().Resource
		switch {
		case resource.Type == image.ResourceTopic:
			topics[resource.Name] = true
		case resource.Type == image.ResourceBroker && (resource.Name == "" || resource.Name == strconv.Itoa(int(ps.self))):
			all = true
		}
	}
	brokers := map[kafka.BrokerID]bool{}
	for b := range c.Brokers() {
		if id := b.Either().ID; id != ps.self {
			brokers[id] = true
		}
	}
	if len(topics) == 0 && !all && len(brokers) == 0 {
		return
	}
	for _, p := range ps.Hosted() {
		configs := all || topics[p.name.Topic]
		if c := p.cold.Load(); c != nil && p.chill(&cold{c.assignment, im, set}) {
			continue
		}
		if p.Log() == nil || (!configs && len(brokers) == 0) {
			continue
		}
		ps.refresh(p, im, set, configs, brokers)
	}
}

// refresh tells one partition of another configuration, or of a change of a
// broker that has a replica of it.
func (ps *Partitions) refresh(p *Partition, im *image.Image, set *settings, configs bool, brokers map[kafka.BrokerID]bool) {
	topic := im.Topic(p.topicID)
	if topic == nil {
		return
	}
	state := topic.Partition(p.name.Partition)
	if state == nil || !hosts(state, ps.self) {
		return
	}
	if configs {
		p.Log().SetConfig(set.of(p.name.Topic).log)
	} else if !anyOf(state.Replicas, brokers) {
		return
	}
	s := coreState(assignment{topic, p.name.Partition, state}, im, set.of(p.name.Topic).minISR)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step(core.ImageChanged{State: s, NowMs: ps.nowMs()})
}

func anyOf(replicas []kafka.BrokerID, brokers map[kafka.BrokerID]bool) bool {
	for _, r := range replicas {
		if brokers[r] {
			return true
		}
	}
	return false
}
