package kraft

import (
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"
	"strings"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
)

// The kinds of differences.
const (
	Missing  = "missing"   // the earlier metadata has it, the later has not
	Changed  = "changed"   // both have it, with other values
	WentBack = "went back" // an epoch, an offset or an id that only grows is lower
)

// Difference is one thing that is not as it was. Secrets are not shown.
type Difference struct {
	Kind   string `json:"kind"`
	Path   string `json:"path"` // as `kvorum metadata tree` names it
	Before string `json:"before,omitempty"`
	Now    string `json:"now,omitempty"`
}

// Comparison is what became of a cluster's metadata.
type Comparison struct {
	// Items is how many things were compared.
	Items       int            `json:"items"`
	BeforeEnd   image.Position `json:"before"`
	NowEnd      image.Position `json:"now"`
	Differences []Difference   `json:"differences"`
	// New are the paths of what is there now and was not before.
	New []string `json:"new"`
}

// Equal reports whether everything is as it was.
func (c *Comparison) Equal() bool { return len(c.Differences) == 0 }

// Compare compares the metadata that controllers had when they stopped with that of the
// controllers that went on with it. What changes by itself in a cluster that runs is left
// out: leaders, in-sync replicas, who is fenced, incarnations, and the controllers'
// registrations. Epochs, broker epochs and producer ids must not have gone back. secret
// says which configurations' values must not be shown.
func Compare(before, now *image.Image, secret func(image.ResourceType, string) bool) Comparison {
	c := Comparison{BeforeEnd: before.At(), NowEnd: now.At(), Differences: []Difference{}, New: []string{}}
	have := map[string]item{}
	for i := range items(now, secret) {
		have[i.path] = i
	}
	for was := range items(before, secret) {
		c.Items++
		is, ok := have[was.path]
		delete(have, was.path)
		c.compare(was, is, ok)
	}
	for path := range have {
		c.New = append(c.New, path)
	}
	slices.Sort(c.New)
	return c
}

func (c *Comparison) compare(was, is item, ok bool) {
	switch {
	case !ok && was.expiresMs > 0 && was.expiresMs <= c.NowEnd.TimestampMs:
	case !ok:
		c.differ(Missing, was, item{})
	case was.value != is.value:
		c.differ(Changed, was, is)
	case is.grows < was.grows || is.grows2 < was.grows2:
		was.value, is.value = was.growing(), is.growing()
		c.differ(WentBack, was, is)
	}
}

func (c *Comparison) differ(kind string, was, is item) {
	d := Difference{Kind: kind, Path: was.path, Before: was.value, Now: is.value}
	if was.secret {
		d.Before, d.Now = record.Redacted, record.Redacted
	}
	c.Differences = append(c.Differences, d)
}

// item is one thing that is compared: its value is to be equal, and what grows is not to
// be lower.
type item struct {
	path, value   string
	grows, grows2 int64
	secret        bool
	expiresMs     int64 // when it may be gone by itself, 0: never
}

func (i item) growing() string {
	if i.grows2 == 0 {
		return fmt.Sprint(i.grows)
	}
	return fmt.Sprintf("leader epoch %d, partition epoch %d", i.grows, i.grows2)
}

// items are all things of an image, in a fixed order.
func items(im *image.Image, secret func(image.ResourceType, string) bool) iter.Seq[item] {
	return func(yield func(item) bool) {
		at, ids := im.At(), im.ProducerIDs()
		ok := yield(item{path: "/position/offset", grows: int64(at.Offset)}) &&
			yield(item{path: "/position/epoch", grows: int64(at.Epoch)}) &&
			yield(item{path: "/producer-ids/nextProducerId", grows: int64(ids.Next)})
		for name, level := range im.Features() {
			ok = ok && yield(item{path: "/features/" + name, value: fmt.Sprint(level)})
		}
		for b := range im.Brokers() {
			ok = ok && yield(item{path: fmt.Sprintf("/brokers/%d", b.ID), grows: int64(b.Epoch)})
		}
		for t := range im.TopicsByName("") {
			ok = ok && yieldTopic(t, yield)
		}
		for r := range im.Configs() {
			ok = ok && yieldConfig(r, secret, yield)
		}
		if ok {
			yieldPrincipals(im, yield)
		}
	}
}

func yieldTopic(t *image.Topic, yield func(item) bool) bool {
	path := "/topics/" + t.Name
	if !yield(item{path: path, value: t.ID.String()}) {
		return false
	}
	for id, p := range t.Partitions() {
		i := item{path: fmt.Sprintf("%s/%d", path, id), value: replicas(p), grows: int64(p.LeaderEpoch), grows2: int64(p.PartitionEpoch)}
		if !yield(i) {
			return false
		}
	}
	return true
}

// replicas is where a partition is. While it is being moved only the replicas that stay
// and come count, which are what the move ends with.
func replicas(p *image.Partition) string {
	end := slices.DeleteFunc(slices.Clone(p.Replicas), func(id kafka.BrokerID) bool { return slices.Contains(p.Removing, id) })
	return fmt.Sprint(end)
}

func yieldConfig(r *image.ResourceConfig, secret func(image.ResourceType, string) bool, yield func(item) bool) bool {
	for _, key := range r.Keys() {
		value, _ := r.Get(key)
		i := item{path: fmt.Sprintf("/configs/%s/%s/%s", r.Resource.Type.Name(), name(r.Resource.Name), key), value: value, secret: secret(r.Resource.Type, key)}
		if !yield(i) {
			return false
		}
	}
	return true
}

// name is a name as one part of a path.
func name(s string) string {
	if s == "" {
		return "<default>"
	}
	return strings.ReplaceAll(s, "/", "%2F")
}

// yieldPrincipals is who may do what, and how much of it.
func yieldPrincipals(im *image.Image, yield func(item) bool) {
	for q := range im.ClientQuotas() {
		for _, key := range q.Keys() {
			value, _ := q.Get(key)
			if !yield(item{path: fmt.Sprintf("/quotas/%s/%s", entity(q.Entity), key), value: fmt.Sprint(value)}) {
				return
			}
		}
	}
	for a := range im.ACLs() {
		if !yield(item{path: "/acls/" + a.ID.String(), value: fmt.Sprintf("%+v", *a)}) {
			return
		}
	}
	for s := range im.ScramCredentials() {
		if !yield(item{path: fmt.Sprintf("/scram/%d:%s", s.Mechanism, name(s.User)), value: fmt.Sprintf("%+v", *s), secret: true}) {
			return
		}
	}
	for t := range im.DelegationTokens() {
		if !yield(item{path: tokenPath(t), value: fmt.Sprint(t.Owner, t.Requester, t.Renewers, t.IssueTimestamp, t.MaxTimestamp), expiresMs: t.ExpirationTimestamp}) {
			return
		}
	}
}

// tokenPath names a token without its id, which is a secret: its HMAC is computed from
// that.
func tokenPath(t *image.DelegationToken) string {
	id := sha256.Sum256([]byte(t.TokenID))
	return fmt.Sprintf("/delegation-tokens/%s-%x", name(t.Owner), id[:6])
}

func entity(e image.QuotaEntity) string {
	var parts []string
	for _, part := range []struct {
		kind string
		name image.QuotaName
	}{{"user", e.User}, {"client-id", e.ClientID}, {"ip", e.IP}} {
		if part.name.Set {
			parts = append(parts, part.kind+"="+name(part.name.Name))
		}
	}
	return strings.Join(parts, ",")
}
