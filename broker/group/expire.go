package group

import "kvorum/internal/kafka"

// expire writes tombstones for offsets that have passed their retention, and for
// groups that have nothing left (GroupCoordinatorShard.cleanupGroupMetadata,
// KIP-211). It stops at the limit and says in Next where to go on: what it has
// written is gone from the State then.
func (t *step) expire(e Expire) {
	t.out.Splittable = true
	var ids []string
	t.groups.Ascend(e.From, func(id string, _ *group) bool {
		ids = append(ids, id)
		return true
	})
	for _, id := range ids {
		g, _ := t.groups.Get(id)
		if t.isForeign(id) {
			continue
		}
		if t.expireOffsets(g, e.Limit) && g.phase == Empty && g.joining.Len() == 0 {
			t.dropGroup(g)
		}
		if len(t.out.Records) >= e.Limit {
			t.out.Next = id // again: there may be more of it
			return
		}
	}
}

// expireOffsets reports whether nothing of the group is left.
func (t *step) expireOffsets(g *group, limit int) bool {
	since, may := t.retention(g)
	var expired []string
	left := false
	t.eachOffset(g.id, func(key string, c *Committed) bool {
		if may && t.expired(c, since(c)) && !g.subscribed(parseOffsetKey(key).topic) && !t.isPending(key) {
			expired = append(expired, key)
		} else {
			left = true
		}
		return len(t.out.Records)+len(expired) < limit
	})
	for _, key := range expired {
		t.drop(key)
		t.out.Expirations++
	}
	if len(t.out.Records) >= limit {
		return false // the walk may have stopped early
	}
	return !left && !t.isPending(offsetPrefix(g.id))
}

// retention says from when on the retention of a group's offsets counts, and
// whether they expire at all now (ClassicGroup.offsetExpirationCondition).
func (t *step) retention(g *group) (since func(*Committed) int64, may bool) {
	byCommit := func(c *Committed) int64 { return c.CommitMs }
	switch {
	case g.protocolType == "":
		return byCommit, true
	case g.phase == Empty && g.sinceMs != -1:
		return func(*Committed) int64 { return g.sinceMs }, true
	case g.phase == Empty:
		return byCommit, true
	default:
		return byCommit, g.phase == Stable && g.reads
	}
}

func (t *step) expired(c *Committed, sinceMs int64) bool {
	if c.ExpireMs != -1 {
		return t.env.WallMs >= c.ExpireMs
	}
	return t.env.WallMs-sinceMs >= t.env.Config.OffsetsRetentionMs
}

// topicsDeleted writes tombstones for the offsets of topics that are gone, also
// for those of open transactions (OffsetMetadataManager.onTopicsDeleted).
func (t *step) topicsDeleted(topics map[string]kafka.TopicID) {
	t.out.Splittable = true
	gone := func(topic string, c *Committed) bool {
		id, ok := topics[topic]
		return ok && (c.TopicID.IsZero() || id.IsZero() || c.TopicID == id)
	}
	var keys []string
	t.offsets.Scan(func(key string, c *Committed) bool {
		if gone(parseOffsetKey(key).topic, c) {
			keys = append(keys, key)
		}
		return true
	})
	t.pending.Scan(func(key string, c *Committed) bool {
		if key = key[producerKeySize:]; gone(parseOffsetKey(key).topic, c) {
			if _, ok := t.offsets.Get(key); !ok {
				keys = append(keys, key)
			}
		}
		return true
	})
	for _, key := range keys {
		if _, committed := t.offsets.Get(key); !committed && !t.isPending(key) {
			continue // two producers had it
		}
		t.drop(key)
		t.out.Deletions++
	}
}
