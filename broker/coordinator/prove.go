package coordinator

import (
	"context"
	"fmt"

	"kvorum/broker/group"
	"kvorum/protocol/batch"
)

// prove shows that this broker leads the partition, where the image alone does not
// show it (ElectUnconfirmed): it appends a record that means nothing and waits until
// that is committed. Were there a later leader, the in-sync replicas would follow
// that one and the record would never be. It is not timed: without the in-sync
// replicas nothing can be told of this partition.
func (s *shard) prove(ctx context.Context) error {
	if !s.unproven {
		return nil
	}
	r := group.Nothing()
	b, now := batch.NewBuilder(s.owner.compression), s.wallMs()
	b.SetProducer(-1, -1, 0, false)
	b.Add(now, r.Key, r.Value)
	first, err := s.log.Append(b.AppendTo(nil, s.log.End(), s.epoch), now, 0)
	if err == nil {
		err = s.log.WaitCommitted(ctx, first+1)
	}
	if err != nil {
		return fmt.Errorf("show that this broker still leads the partition: %w", err)
	}
	s.unproven = false
	s.logger.Info("this broker still leads the partition: a record of its own is committed", "offset", int64(first))
	return nil
}
