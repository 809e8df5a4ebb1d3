package coordinator

import (
	"fmt"

	"kvorum/broker/group"
	"kvorum/internal/planted"
	"kvorum/protocol/batch"
)

// prove shows that this broker leads the partition, where the image alone does not
// show it (ElectUnconfirmed): it appends a record that means nothing and waits until
// that is committed. Were there a later leader, the in-sync replicas would follow
// that one and the record would never be. It is not timed: without the in-sync
// replicas nothing can be told of this partition. False as long as it is not shown.
func (c *Core) prove() (bool, error) {
	if !c.Unproven || planted.Is(planted.UnprovenCoordinator) {
		return true, nil
	}
	if c.proof == 0 {
		r := group.Nothing()
		b, now := batch.NewBuilder(c.Compression), c.WallMs()
		b.SetProducer(-1, -1, 0, false)
		b.Add(now, r.Key, r.Value)
		first, err := c.Log.Append(b.AppendTo(nil, c.Log.End(), c.Epoch), now, 0)
		if err != nil {
			return false, c.unshown(err)
		}
		c.proof = first + 1
	}
	hw, err := c.Log.HighWatermark()
	if err != nil {
		return false, c.unshown(err)
	}
	if hw < c.proof {
		return false, nil
	}
	c.Unproven = false
	c.Logger.Info("this broker still leads the partition: a record of its own is committed", "offset", int64(c.proof-1))
	return true, nil
}

func (c *Core) unshown(err error) error {
	return fmt.Errorf("show that this broker still leads the partition: %w", err)
}
